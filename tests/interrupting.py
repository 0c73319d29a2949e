"""A signal that comes during a step of a training."""

from __future__ import annotations

import signal

from pairedit.runs.stopping import Stopping


class StopDuring(Stopping):
    """Behave as if a signal came during one step."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def watch(self, method):
        class Watched(type(method)):
            def terms(watched, step):
                self.left -= 1
                if self.left == 0:
                    self._receive(signal.SIGTERM, None)
                return super().terms(step)

        Watched.__qualname__ = type(method).__qualname__
        return Watched(**vars(method))

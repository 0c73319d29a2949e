"""Own when a training is looked at before its end: every few steps, or when somebody asks.

Somebody asks by the signal SIGUSR1, or by a file named `preview` in the run's folder, which is
removed when its row is rendered.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from pairedit.settings import Size

log = logging.getLogger(__name__)

ASKED = "preview"  # name of the file
SIGNAL = "SIGUSR1"  # Windows lacks it
SHARE = 0.5  # of the time that training itself takes; rows in turn are left out beyond


class Asking:
    """Remember that somebody has asked for a row, while it is entered as a context."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the run; the folders of its trainings count as well."""
        self._folder = folder
        self._signalled = False
        self._before: Any = None

    def __enter__(self) -> Asking:
        """Install the handler; without one the signal would end the process."""
        number = getattr(signal, SIGNAL, None)
        if number is not None and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the handler back that was there before."""
        if self._before is not None:
            signal.signal(getattr(signal, SIGNAL), self._before)

    def answered(self, name: str) -> bool:
        """Say whether somebody has asked since the last answer, for the training of this name."""
        asked, self._signalled = self._signalled, False
        for path in (self._folder / ASKED, self._folder / name / ASKED):
            try:
                path.unlink()
            except OSError:  # nearly always there is none; what cannot be removed asks for nothing
                continue
            asked = True
        return asked

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True


class Looking:
    """Let rows of pictures be rendered while one training runs, at a bounded cost."""

    def __init__(
        self,
        *,
        name: str,
        asking: Asking,
        every: int,
        show: Callable[..., None],
        prompts: Sequence[str],
        sizes: Sequence[Size] = (),
    ) -> None:
        """Start before the first step.

        Args:
            name: of the training.
            asking: tells when somebody wants a row at once.
            every: steps between rows; 0 renders none unasked.
            show: renders a row; it takes what `at` was given, then the step.
            prompts: that rows are rendered with.
            sizes: that they are rendered at.
        """
        self._name, self._asking, self._every, self._show = name, asking, every, show
        # Encoded with those of the training only where rows are sure to come.
        self.prompts = tuple(prompts) if every else ()
        self.sizes = tuple(sizes)
        self._spent = self._last = 0.0  # seconds of all rows, and of the last one
        self._said = False

    def at(self, *stage: object) -> Looking:
        """Look at the LoRAs that are trained on a stage: the first arguments of `show`."""
        self._show = partial(self._show, *stage)
        return self

    def due(self, step: int, seconds: float) -> bool:
        """Say whether to render a row after `step` updates, which took so many seconds so far."""
        if self._asking.answered(self._name):
            return True
        if not self._every or step % self._every:
            return False
        fits = self._spent + self._last <= SHARE * seconds  # what the next one costs is not known
        if not fits and not self._said:
            self._said = True
            log.info(
                "%s: there is no row for step %d, nor for some later steps: rows may take at most "
                "%.0f %% of the training's own time",
                self._name,
                step,
                100 * SHARE,
            )
        return fits

    def show(self, step: int) -> float:
        """Render a row; return the seconds that it took. What fails is said and stops nothing."""
        began = time.perf_counter()
        try:
            self._show(step)
        except (ValueError, RuntimeError, OSError, MemoryError) as error:
            log.warning("%s: no preview at step %d: %s", self._name, step, error)
        took = time.perf_counter() - began
        self._spent, self._last = self._spent + took, took
        return took

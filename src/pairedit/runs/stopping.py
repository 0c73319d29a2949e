"""Own the signals that ask a command to stop: SIGINT (Ctrl-C), SIGTERM and SIGHUP.

A command stops at once, except inside `Stopping.held`: there it is left to the code, which saves
first. A second signal stops at once everywhere; files are replaced whole, so none is torn.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows lacks the last


class Stopped(BaseException):
    """Say that a signal stopped the command; no Exception, so that nothing takes it for a fault."""

    def __init__(self, number: int, where: str = "") -> None:
        """Keep the signal's number and how far the work had come."""
        super().__init__(number, where)
        self.number = number
        self.where = where

    def __str__(self) -> str:
        """Write `stopped by SIGTERM after step 137 of 500`."""
        return f"stopped by {signal.Signals(self.number).name} {self.where}".rstrip()


class Stopping:
    """Turn signals into `Stopped` while it is entered as a context."""

    def __init__(self, more: Sequence[str] = ()) -> None:
        """Install nothing yet.

        Args:
            more: names of signals that ask to stop beside the usual ones.
        """
        self._names = (*SIGNALS, *more)
        self.pending: int | None = None  # the signal that waits for the end of a held block
        self._held = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        """Install the handlers; signals that the caller ignores stay ignored (nohup, jobs in &)."""
        if threading.current_thread() is threading.main_thread():
            for name in self._names:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Leave a first signal in `pending` for the block to act on; at its end it counts."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.pending is not None:
            raise Stopped(self.pending)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._held or self.pending is not None:
            raise Stopped(number)
        self.pending = number
        log.warning("stops after this step; the same signal again stops at once")

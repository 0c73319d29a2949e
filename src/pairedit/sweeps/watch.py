"""Own what a sweep says while it runs: which job it is at, and how long the rest will take."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pairedit.files import read_yaml
from pairedit.runs.folder import CONFIG
from pairedit.sweeps import outcome
from pairedit.sweeps.composed import Planned

log = logging.getLogger(__name__)

EVERY = 30.0  # s between two lines


class Watch:
    """Say now and then how far the jobs of a sweep have come, by what stands in their folders."""

    def __init__(self, planned: Sequence[Planned], launch: str, *, quiet: bool = False) -> None:
        """Take the jobs of one launch.

        Args:
            planned: the jobs.
            launch: names the launch in their notes.
            quiet: say nothing unasked: a job here draws a bar on a terminal.
        """
        self._planned, self._launch, self._quiet = planned, launch, quiet
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._first = 0.0
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Watch:
        """Begin to look."""
        self._first = sum(_share(job.folder) for job in self._planned)
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(EVERY):
            self.say()

    def say(self) -> None:
        """Log one line."""
        log.info("%s", self.line())

    def line(self) -> str:
        """Write how far the sweep is."""
        notes = self._notes()
        count = len(notes)
        states = [note.status if note else "" for note in notes]
        ended = states.count(outcome.DONE) + states.count(outcome.FAILED)
        failed = states.count(outcome.FAILED)
        text = f"sweep: {ended} of {count} jobs done, {states.count(outcome.BEGUN)} at work"
        if failed:
            text += f", {failed} failed"
        return text + self._left(states)

    def left(self) -> str:
        """Write how long the rest will take; nothing where that is not known."""
        return self._left([note.status if note else "" for note in self._notes()])

    def _notes(self) -> list[outcome.Outcome | None]:
        """Read what the jobs of this launch have noted."""
        notes = [outcome.read(job.folder) for job in self._planned]
        return [note if note and note.launch == self._launch else None for note in notes]

    def _left(self, states: Sequence[str]) -> str:
        come = sum(
            1.0 if state in (outcome.DONE, outcome.FAILED) else _share(job.folder)
            for job, state in zip(self._planned, states, strict=True)
        )
        spent = time.monotonic() - self._started
        if come - self._first <= 0.01:
            return ""
        if len(states) - come < 1e-6:
            # Their steps are known, how long they measure and draw is not.
            return ", all steps are done"
        left = spent * (len(states) - come) / (come - self._first)
        return f", about {duration(left)} left"


def _share(folder: Path) -> float:
    """Say how much of a training is done, by the last line of its metrics."""
    try:
        steps = read_yaml(folder / CONFIG, dict)["steps"]
        shares = []
        for path in folder.glob("*/metrics.jsonl"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 4096))
                lines = file.read().splitlines()
            shares.append(json.loads(lines[-1])["step"] / steps)
        return min(1.0, sum(shares) / len(shares)) if shares else 0.0
    except (OSError, ValueError, KeyError, TypeError, IndexError, ZeroDivisionError):
        return 0.0


def duration(seconds: float) -> str:
    """Write a time to wait, rounded as far as it is known."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"

"""Own where numbers and pictures of a run go: a JSON-lines file always, wandb when chosen.

The trainer talks to a `Run` and never asks which.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pairedit.files import json_text

log = logging.getLogger(__name__)


class Run(Protocol):
    """Receive the numbers of one training run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note numbers after `step` updates."""
        ...

    def image(self, name: str, path: Path, step: int) -> None:
        """Note a picture after `step` updates."""
        ...

    def commit(self) -> None:
        """Make what was noted survive a loss of power: a checkpoint follows."""
        ...

    def rewind(self, step: int) -> None:
        """Forget what was noted after `step` updates: training goes on from there."""
        ...

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """Note a table after `step` updates."""
        ...

    def finish(self) -> None:
        """Flush and close."""
        ...


@runtime_checkable
class Tracker(Protocol):
    """Open runs."""

    def open(self, name: str, folder: Path, config: Mapping[str, Any], *, resume: bool) -> Run:
        """Start one run, or go on with the one of that folder; its files go to `folder`."""
        ...


class JsonLines:
    """Write one JSON object a line, given to the system as soon as it is logged."""

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        """Start the file anew, or go on behind what is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        # Without a buffer there is nothing left to write, and to fail, when the file is closed.
        self._file = path.open("ab" if resume else "wb", buffering=0)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line with the step first.

        Raises:
            OSError: names the file, such as on a full disk.
        """
        rest = memoryview((json_text({"step": step, **metrics}) + "\n").encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def image(self, name: str, path: Path, step: int) -> None:
        """Leave pictures where they are."""

    def commit(self) -> None:
        """Wait until the disk has it all."""
        os.fsync(self._file.fileno())

    def rewind(self, step: int) -> None:
        """Cut the file behind the last line of `step`, or before a line that is torn."""
        end = last = 0
        with self._path.open("rb") as file:
            for line in file:
                try:
                    logged = json.loads(line)["step"] if line.endswith(b"\n") else step + 1
                except (ValueError, KeyError, TypeError):
                    logged = step + 1
                if logged > step:
                    break
                end, last = end + len(line), logged
        self._file.truncate(end)
        if last < step:
            log.warning("%s: the lines of steps %d to %d are lost", self._path, last + 1, step)

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """Leave tables to the files that hold them."""

    def finish(self) -> None:
        """Close the file."""
        self._file.close()


class Silent:
    """Drop everything."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Drop numbers."""

    def image(self, name: str, path: Path, step: int) -> None:
        """Drop a picture."""

    def commit(self) -> None:
        """Keep nothing."""

    def rewind(self, step: int) -> None:
        """Forget nothing."""

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """Drop a table."""

    def finish(self) -> None:
        """Close nothing."""


class Several:
    """Pass everything on to several runs."""

    def __init__(self, runs: Sequence[Run]) -> None:
        """Take the runs over."""
        self._runs = runs

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note numbers in every run."""
        for run in self._runs:
            run.log(step, metrics)

    def image(self, name: str, path: Path, step: int) -> None:
        """Note a picture in every run."""
        for run in self._runs:
            run.image(name, path, step)

    def commit(self) -> None:
        """Make every run keep what it has."""
        for run in self._runs:
            run.commit()

    def rewind(self, step: int) -> None:
        """Rewind every run."""
        for run in self._runs:
            run.rewind(step)

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """Note a table in every run."""
        for run in self._runs:
            run.table(name, heads, rows, step)

    def finish(self) -> None:
        """Close every run."""
        for run in self._runs:
            run.finish()


@dataclass(frozen=True, kw_only=True)
class NoTracker:
    """Track nothing beside metrics.jsonl."""

    def open(self, name: str, folder: Path, config: Mapping[str, Any], *, resume: bool) -> Run:
        """Return a run that drops everything."""
        return Silent()

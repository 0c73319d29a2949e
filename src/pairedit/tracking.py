"""Own where numbers and pictures of a run go: a JSON-lines file always, wandb when chosen.

The trainer talks to a `Run` and never asks which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class Run(Protocol):
    """Receive the numbers of one training run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note numbers after `step` updates."""
        ...

    def image(self, name: str, path: Path, step: int) -> None:
        """Note a picture after `step` updates."""
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

    def open(self, name: str, folder: Path, config: Mapping[str, Any]) -> Run:
        """Start one run; its files go to `folder`."""
        ...


class JsonLines:
    """Write one JSON object a line, on disk as soon as it is logged."""

    def __init__(self, path: Path) -> None:
        """Start the file anew."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", buffering=1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a line with the step first."""
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")

    def image(self, name: str, path: Path, step: int) -> None:
        """Leave pictures where they are."""

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

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        """Drop a table."""

    def finish(self) -> None:
        """Have nothing to close."""


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

    def open(self, name: str, folder: Path, config: Mapping[str, Any]) -> Run:
        """Return a run that drops everything."""
        return Silent()


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """Track with Weights & Biases; `offline` writes to the run's folder and needs no account."""

    project: str = "pairedit"
    mode: str = "offline"  # online, offline or disabled
    entity: str | None = None

    def __post_init__(self) -> None:
        """Refuse modes that wandb lacks.

        Raises:
            ValueError: names the modes.
        """
        modes = ("online", "offline", "disabled")
        if self.mode not in modes:
            raise ValueError(f"tracker.mode={self.mode}: expected one of {', '.join(modes)}")

    def open(self, name: str, folder: Path, config: Mapping[str, Any]) -> Run:
        """Start a wandb run whose files stand in `folder`."""
        import wandb

        return _WandbRun(
            wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self.mode,
                name=name,
                dir=folder,
                config=dict(config),
                reinit="create_new",
                settings=wandb.Settings(silent=True),
            )
        )


class _WandbRun:
    """Pass everything on to a wandb run."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def image(self, name: str, path: Path, step: int) -> None:
        import wandb

        self._run.log({name: wandb.Image(str(path))}, step=step)

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        import wandb

        data = [list(row) for row in rows]
        self._run.log({name: wandb.Table(columns=list(heads), data=data)}, step=step)

    def finish(self) -> None:
        self._run.finish()

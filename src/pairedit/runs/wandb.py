"""Own the tracker that sends numbers and pictures to Weights & Biases."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairedit.files import replacing
from pairedit.problems import check
from pairedit.runs.resume import SWEEP
from pairedit.runs.tracking import Run

log = logging.getLogger(__name__)

MODES = ("online", "offline", "disabled")
WANDB_PATIENCE = 20  # s until a server counts as down


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """Track with Weights & Biases; `offline` writes to the run's folder and needs no account."""

    project: str = "pairedit"
    mode: str = "offline"  # online, offline or disabled
    entity: str | None = None

    def __post_init__(self) -> None:
        """Refuse modes that wandb lacks.

        Raises:
            Invalid: names the modes.
        """
        check(self, mode=(self.mode in MODES, f"one of {', '.join(MODES)}"))

    def open(self, name: str, folder: Path, config: Mapping[str, Any], *, resume: bool) -> Run:
        """Start a wandb run whose files stand in `folder`, or go on with the one of that folder.

        If the server cannot be reached, the run is kept offline, and a line says so.
        """
        import wandb

        note = folder / "wandb" / "id.txt"
        if not (resume and note.is_file()):
            with replacing(note) as temporary:
                temporary.write_text(secrets.token_hex(4), encoding="utf-8")

        def start(mode: str) -> Any:
            return wandb.init(
                project=self.project,
                entity=self.entity,
                mode=mode,
                name=name,
                group=_group(folder, config),
                id=note.read_text(encoding="utf-8"),
                resume="allow",
                dir=folder,
                config=dict(config),
                reinit="create_new",
                settings=wandb.Settings(
                    silent=True,
                    init_timeout=WANDB_PATIENCE,
                    finish_timeout=3 * WANDB_PATIENCE,
                    finish_timeout_raises=True,
                ),
            )

        try:
            run = start(self.mode)
        except Exception as error:
            if self.mode != "online":
                raise
            log.warning(
                "wandb cannot be reached (%s): training goes on, `wandb sync %s` uploads it later",
                _first_line(error),
                folder / "wandb" / "offline-run-*",
            )
            # Or the failed attempt would still hold the run's id.
            wandb.teardown()
            run = start("offline")
        return _WandbRun(run)


def _group(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Name the sweep that a run belongs to, or that an evaluation is about."""
    read = config.get("sweep")
    about = read.get("folder") if isinstance(read, Mapping) else None
    sweep = Path(about) if about else folder.parent.parent
    return sweep.resolve().name if (sweep / SWEEP).is_file() else None


class _WandbRun:
    """Pass everything on to a wandb run, which must never stop a training."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._lost = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._try(lambda: self._run.log(dict(metrics), step=step))

    def image(self, name: str, path: Path, step: int) -> None:
        import wandb

        self._try(lambda: self._run.log({name: wandb.Image(str(path))}, step=step))

    def commit(self) -> None:
        """Leave it to wandb's own files."""

    def rewind(self, step: int) -> None:
        """Leave it to wandb, which drops steps that it has already."""

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        import wandb

        data = [list(row) for row in rows]
        content = wandb.Table(columns=list(heads), data=data)
        self._try(lambda: self._run.log({name: content}, step=step))

    def finish(self) -> None:
        self._try(lambda: self._run.finish())

    def _try(self, call: Callable[[], object]) -> None:
        """Say once that wandb fails."""
        try:
            call()
        except Exception as error:
            if not self._lost:
                log.warning("wandb failed (%s): training goes on without it", _first_line(error))
            self._lost = True


def _first_line(error: Exception) -> str:
    """Return the first line of a message, or the type of an empty one."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

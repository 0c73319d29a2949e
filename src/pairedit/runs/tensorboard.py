"""Own the tracker that writes numbers and pictures for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pairedit.runs.tracking import Run

FOLDER = "tensorboard"


@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Track with TensorBoard: `tensorboard --logdir FOLDER` shows a run, or a whole sweep."""

    def __post_init__(self) -> None:
        """Refuse if the package that writes the files is not installed.

        Raises:
            ValueError: says how to install it.
        """
        if find_spec("tensorboard") is None:
            raise ValueError("not installed; pip install 'pairedit[tensorboard]'")

    def open(self, name: str, folder: Path, config: Mapping[str, Any], *, resume: bool) -> Run:
        """Write to the run's own folder."""
        return _TensorBoardRun(folder / FOLDER)


class _TensorBoardRun:
    """Pass everything on to TensorBoard's files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open(None)

    def _open(self, after: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(self._folder, purge_step=None if after is None else after + 1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def image(self, name: str, path: Path, step: int) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def commit(self) -> None:
        self._writer.flush()

    def rewind(self, step: int) -> None:
        """Hide what was written after `step` updates."""
        self._writer.close()
        self._open(step)

    def table(
        self, name: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], step: int
    ) -> None:
        lines = [heads, ["---"] * len(heads), *rows]
        text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
        self._writer.add_text(name, text, step)

    def finish(self) -> None:
        self._writer.close()

"""Own the LoRA files of many sliders; only a few are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pairedit.lora.file import LoraFile, read_lora
from pairedit.lora.names import Names

KEPT = 16  # files


class LoraFiles(Mapping[Path, LoraFile]):
    """Read LoRA files when they are asked for, after each has been read once and found good."""

    def __init__(self, paths: Sequence[Path], names: Names) -> None:
        """Read all of them once.

        Raises:
            ValueError: see `read_lora`.
        """
        self._paths = list(dict.fromkeys(paths))
        self._read = lru_cache(KEPT)(lambda path: read_lora(path, names))
        for path in self._paths:
            self._read(path)

    def __getitem__(self, path: Path) -> LoraFile:
        return self._read(path)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

"""Own what is said of LoRA files that are named as sliders and are none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pairedit.lora.file import role_of
from pairedit.methods import SEMANTIC

CONTENT = "content"


def role_notes(sliders: Iterable[Path]) -> list[str]:
    """Say which of the files given as sliders hold looks instead of an edit."""
    return [_note(path) for path in dict.fromkeys(sliders) if role_of(path) == CONTENT]


def _note(path: Path) -> str:
    """Say that a file is a content LoRA, and which file is probably meant."""
    beside, told = path.with_name(f"{SEMANTIC}.safetensors"), "metadata"
    if path.suffix.lower() == ".pt":
        beside = path.with_name(f"{path.stem.removesuffix('_0')}_1{path.suffix}")
        told = "name"
    meant = f"; the slider is probably {beside}" if beside.is_file() else ""
    return (
        f"{path} is a content LoRA by its {told}: it holds the looks of what it was trained on, "
        f"not an edit{meant}"
    )

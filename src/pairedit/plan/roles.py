"""Own what a file that is given as a LoRA is for: a slider, a content LoRA, or a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairedit.files import near_path
from pairedit.lora.file import Inside, inspect_lora, look_into, role_of
from pairedit.lora.names import Names
from pairedit.methods import CONTENT, SEMANTIC
from pairedit.plan.folders import options
from pairedit.problems import given_by

LONGEST = 1 << 26  # bytes of a header; beyond, a file lies


def inspect_role(
    path: Path,
    names: Names,
    notes: list[str],
    role: str = SEMANTIC,
    checkpoints: bool = True,
    key: str = "lora",
    model: Any = None,
) -> Mapping[str, Any]:
    """Check a LoRA file as `look_into` does, and check that it has the wanted role.

    Args:
        path: of the file; a checkpoint counts as the LoRA of that role which it holds.
        names: of the base model's modules.
        notes: receives what the user should know.
        role: what it is to do.
        checkpoints: take them, too.
        key: that names the file.
        model: the base model that it is for; None while none is known.

    Returns:
        The metadata.

    Raises:
        ValueError: see `look_into`; or its layers are of another width than those of the model.
    """
    step = checkpoint_step(present(path, key))
    if step is not None:
        if not checkpoints:
            raise ValueError(
                f"{key}={path}: a checkpoint of a training, not a LoRA file; pairedit-gen renders "
                "it, and snapshots=true keeps the LoRA files of every checkpoint"
            )
        notes.append(f"{path}: is a checkpoint; the {role} LoRA of step {step} is taken from it")
        return {"role": role, "step": step}
    with given_by(key, path):
        inside = look_into(path, names)
    if role == SEMANTIC and inside.role == CONTENT:
        notes.append(_note(path))
    if model:
        _check_base(path, inside, model, notes, key)
    return inside.metadata


def inspect(path: Path, names: Names, key: str = "lora") -> Mapping[str, Any]:
    """Check a LoRA file as `inspect_lora` does; errors name the key that it was given by."""
    with given_by(key, present(path, key)):
        return inspect_lora(path, names)


def present(path: Path, key: str = "lora") -> Path:
    """Return a path that a key names, if anything is there.

    Raises:
        ValueError: names the key.
    """
    if not path.exists():
        raise ValueError(f"{key}={path}: no such LoRA file{near_path(path)}")
    return path


def note_content(path: Path, notes: list[str]) -> None:
    """Note that a file given as a slider is a content LoRA."""
    if role_of(path) == CONTENT:
        notes.append(_note(path))


def _check_base(path: Path, inside: Inside, model: Any, notes: list[str], key: str) -> None:
    """Refuse a LoRA whose base model is of another size; note any other base model."""
    base = inside.metadata.get("base_model")
    there, here = inside.width, model.width()
    if there and here and there != here:
        other = base and base != model.name
        whose = f"was trained on {base}" if other else "belongs to another model"
        known = base if other and base in options() else ""
        way = f"write model={known}" if known else "a LoRA works with the model it was trained on"
        raise ValueError(
            f"{key}={path}: {whose}, whose layers are {there} wide; those of "
            f"model={model.name} are {here} wide; {way}"
        )
    if base and base != model.name:
        notes.append(f"{path} was trained on {base}, but model={model.name} is chosen")


def checkpoint_step(path: Path) -> int | None:
    """Return the step of a training's checkpoint, by its header; None for other files."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= LONGEST else {}
        return int(json.loads(header["__metadata__"]["checkpoint"])["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _note(path: Path) -> str:
    """Say that a file is a content LoRA, and which file is probably meant."""
    beside, told = path.with_name(f"{SEMANTIC}.safetensors"), "metadata"
    if path.suffix.lower() not in (".safetensors", ".sft"):
        beside = path.with_name(f"{path.stem.removesuffix('_0')}_1{path.suffix}")
        told = "name"
    meant = f"; the slider is probably {beside}" if beside.is_file() else ""
    return (
        f"{path} is a content LoRA by its {told}: it holds the looks of what it was trained on, "
        f"not an edit{meant}"
    )

"""Own which files a training starts from: `init=`, a LoRA, a checkpoint, or the folder of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pairedit.files import expand_home
from pairedit.lora.file import role_of
from pairedit.lora.header import read_header
from pairedit.plan.model import names_of
from pairedit.plan.roles import checkpoint_step, inspect_role
from pairedit.runs.folder import CHECKPOINTS, STATE

Parts = dict[str, Path]  # by role


def find_starts(
    init: str, datasets: Iterable[str], roles: Sequence[str], model: Any, notes: list[str]
) -> dict[str, Parts]:
    """Find what each LoRA of each training starts from.

    Args:
        init: a LoRA file, a checkpoint, the folder of a run, or that of one of its trainings.
        datasets: names of the trainings.
        roles: of the method's LoRAs, the slider last.
        model: the base model.
        notes: receives what the user should know.

    Returns:
        Files by dataset and role; a role is left out where nothing is found for it, but never
        the last one.

    Raises:
        ValueError: there is none, or a file cannot be used.
    """
    path = expand_home(init)
    known: dict[tuple[str, Path], None] = {}
    found = {}
    for dataset in datasets:
        parts = _of_folder(path, dataset, roles) if path.is_dir() else _of_file(path, roles)
        found[dataset] = parts
        known |= {(role, part): None for role, part in parts.items()}
    for role, part in known:
        inspect_role(part, names_of(model), notes, role, key="init", model=model)
    return found


def _of_folder(path: Path, dataset: str, roles: Sequence[str]) -> Parts:
    """Find the training of a dataset in a run, or else the only training that is there."""
    main = roles[-1]
    inside = [folder for folder in sorted(path.iterdir()) if _part(folder, main)]
    choice = [path / dataset, path, *(inside if len(inside) == 1 else [])]
    folder = next((folder for folder in choice if _part(folder, main)), None)
    if folder is None:
        names = ", ".join(folder.name for folder in inside)
        there = f" of dataset {dataset}, but of {names}" if inside else f"; there is no {main} LoRA"
        raise ValueError(
            f"init={path}: holds no training{there}; expected a LoRA file, or a run's folder"
        )
    return {role: part for role in roles if (part := _part(folder, role))}


def _part(folder: Path, role: str) -> Path | None:
    """Find the LoRA of one role in the folder of a training, else in its newest checkpoint."""
    file = folder / f"{role}.safetensors"
    if file.is_file():
        return file
    states = [path for part in (STATE, CHECKPOINTS) for path in folder.glob(f"{part}/[0-9]*")]
    newest = max(states, key=lambda path: path.name, default=None)
    return newest if newest and _holds(newest, role) else None


def _of_file(path: Path, roles: Sequence[str]) -> Parts:
    """Take a file for the last role, and look for those of the others beside it."""
    *others, main = roles
    found = {main: path}
    for role in others:
        if checkpoint_step(path) is not None:
            found |= {role: path} if _holds(path, role) else {}
            continue
        beside = path.with_name(path.name.replace(main, role, 1))
        if beside != path and beside.is_file() and role_of(beside) == role:
            found[role] = beside
    return {role: found[role] for role in roles if role in found}


def _holds(checkpoint: Path, role: str) -> bool:
    """Say whether a checkpoint holds a LoRA of a role."""
    try:
        return f"weights.{role}.0" in read_header(checkpoint).shapes
    except ValueError:
        return False

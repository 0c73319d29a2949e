"""Own checkpoints: everything that the next step depends on, in one file that proves itself.

    <step, 6 digits>-<first 16 digits of the file's SHA-256>.safetensors

The name holds the checksum of the bytes, header included, so one atomic rename makes a checkpoint
and nothing in it can change unseen. The header holds one entry, `checkpoint`: JSON with the step
and the notes. Loading runs no code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pairedit.files import replacing

log = logging.getLogger(__name__)

KEPT = 2  # checkpoints: the last one, and one more in case it is damaged
NAME = re.compile(r"(\d{6,})-([0-9a-f]{16})\.safetensors")
DAMAGED = ".damaged"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Hold the state of training after `step` updates."""

    step: int
    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]  # JSON values


def write_checkpoint(folder: Path, checkpoint: Checkpoint, *, kept: int = KEPT) -> Path:
    """Write a checkpoint, then remove all but the last few.

    Args:
        folder: of the checkpoints of one training; made if missing.
        checkpoint: the newest state; files of the same or a later step are out of date and go.
        kept: how many stay, at least 1.

    Returns:
        The new file.

    Raises:
        OSError: it cannot be written; the earlier ones stay.
    """
    entry = json.dumps({"step": checkpoint.step, "notes": checkpoint.notes}, sort_keys=True)
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    content = save(tensors, metadata={"checkpoint": entry})
    path = folder / f"{checkpoint.step:06d}-{_checksum(content)}.safetensors"
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    earlier = [old for step, old in _files(folder) if old != path and step < checkpoint.step]
    for _, old in _files(folder):
        if old not in (path, *earlier[: kept - 1]):
            old.unlink()
    return path


def read_checkpoint(folder: Path, *, before: int | None = None) -> Checkpoint | None:
    """Read the newest good checkpoint; damaged ones are put aside and named in the log.

    Args:
        folder: of the checkpoints; may be missing.
        before: take an earlier step than this one, if there is any.

    Returns:
        The checkpoint, its tensors on the CPU; None without a good one.
    """
    files = list(_files(folder))
    early = [(step, path) for step, path in files if before is not None and step < before]
    for step, path in early + [entry for entry in files if entry not in early]:
        try:
            return _read(path, step)
        except ValueError as error:
            log.warning("%s: %s; the checkpoint before it is used, if there is one", path, error)
            path.rename(path.with_name(path.name + DAMAGED))
    return None


def has_checkpoints(folder: Path) -> bool:
    """Say whether a folder holds a checkpoint, good or not."""
    return any(True for _ in _files(folder))


def remove_checkpoints(folder: Path) -> None:
    """Remove a finished training's checkpoints, the newest last, and their folder."""
    # In this order a kill in between leaves one to go on from, or none and nothing to do.
    for path in [*folder.glob("*" + DAMAGED), *reversed([path for _, path in _files(folder)])]:
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    """Walk over step and file of each checkpoint, the newest first."""
    found = [(match, path) for path in folder.glob("*") if (match := NAME.fullmatch(path.name))]
    for match, path in sorted(found, key=lambda one: (int(one[0][1]), one[1]), reverse=True):
        yield int(match[1]), path


def _read(path: Path, step: int) -> Checkpoint:
    """Read one file.

    Raises:
        ValueError: says what is wrong with it.
    """
    content = path.read_bytes()
    if _checksum(content) not in path.name:
        raise ValueError("truncated or altered (its checksum differs)")
    checkpoint = parse_checkpoint(content)
    if checkpoint.step != step:
        raise ValueError(f"renamed, it holds step {checkpoint.step}")
    return checkpoint


def parse_checkpoint(content: bytes) -> Checkpoint:
    """Read the bytes of a checkpoint, wherever they come from.

    Raises:
        ValueError: they are none.
    """
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        entry = json.loads(header["__metadata__"]["checkpoint"])
        return Checkpoint(step=entry["step"], tensors=tensors, notes=dict(entry["notes"]))
    except (SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no checkpoint of pairedit ({error!r})") from error


def _checksum(content: bytes) -> str:
    """Return what a checkpoint's name says about its bytes."""
    return hashlib.sha256(content).hexdigest()[:16]

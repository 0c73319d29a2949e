"""Own LoRA files: safetensors in diffusers' layout, and what is written beside the weights.

    transformer.<module>.lora_A.weight  [rank, in]
    transformer.<module>.lora_B.weight  [out, rank], with alpha / rank folded in

so that any reader's default, alpha = rank at strength 1, is our scale 1.0. The header holds one
entry, `pairedit`: JSON with version, base_model, method, role, step, rank and config. One
entry, because safetensors writes several in random order and equal runs would differ in bytes.
Files of other layouts, and .pt files that hold nothing but tensors, are read and written too.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pairedit
from pairedit.files import replacing
from pairedit.lora.keys import Entry, read_keys
from pairedit.lora.layouts import from_tensors, to_tensors
from pairedit.lora.names import UNKNOWN, Names

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pt")
TYPES = ("BF16", "F16", "F32", "F64")
TEXTS = ("base_model", "dataset", "method", "role")  # texts in the metadata, shown to the user
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MOST_SCALING = 1e6  # of alpha / rank; beyond, a file lies


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """Hold one LoRA as read from disk."""

    path: Path
    weights: Mapping[str, tuple[Tensor, Tensor]]  # module: (A [rank, in], B [out, rank]), float32
    metadata: Mapping[str, Any]  # what `write_lora` was given; empty for a foreign file
    sha256: str  # of the file's bytes

    @property
    def rank(self) -> int:
        """Return the largest rank of any module."""
        return max(len(down) for down, _ in self.weights.values())


def write_lora(
    path: Path,
    weights: Mapping[str, tuple[Tensor, Tensor]],
    metadata: Mapping[str, Any],
    layout: str = "diffusers",
    names: Names = UNKNOWN,
) -> None:
    """Write one LoRA, by default so that diffusers and ComfyUI read it.

    Args:
        path: the file, .safetensors or .pt, replaced at once or not at all.
        weights: see `Adapters.weights`.
        metadata: JSON values; the package version is added. A .pt file has no room for them.
        layout: see `layouts`.
        names: of the modules of the base model; `diffusers` needs none.

    Raises:
        ValueError: modules that the layout cannot hold.
    """
    import torch
    from safetensors.torch import save

    tensors = to_tensors(weights, layout, names)
    if path.suffix == ".pt":
        with replacing(path) as temporary:
            torch.save(tensors, temporary)
        return
    entry = json.dumps({"version": pairedit.__version__, **metadata}, sort_keys=True)
    with replacing(path) as temporary:
        # Bytes, not save_file, whose files nobody but their owner may read.
        temporary.write_bytes(save(tensors, metadata={"pairedit": entry}))


def annotate_lora(path: Path, **entries: Any) -> None:
    """Change entries of a LoRA file's metadata; the weights keep their bytes.

    Args:
        path: a safetensors file, replaced at once or not at all.
        entries: JSON values by name; None takes an entry away.

    Raises:
        ValueError: not a safetensors file, or its entry is damaged.
    """
    known = _entry(path, _open(path).texts)
    merged = {k: v for k, v in {**known, **entries}.items() if v is not None}
    content = path.read_bytes()
    # safetensors: 8 bytes of header length, the header as JSON, then the weights.
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {
        **header.get("__metadata__", {}),
        "pairedit": json.dumps(merged, sort_keys=True),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format's own alignment
    with replacing(path) as temporary:
        temporary.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def inspect_lora(path: Path, names: Names = UNKNOWN) -> dict[str, Any]:
    """Check what can be checked of a LoRA file without loading weights or torch.

    Args:
        path: a .safetensors or .pt file; of the latter only that it is one.
        names: see `read_lora`.

    Returns:
        The metadata of `write_lora`; empty for a file of another origin.

    Raises:
        ValueError: names the file and the first thing wrong with it.
    """
    header = _open(path)
    if header.shapes is not None:
        _read_keys(path, header.shapes, names)
    for key, kind in header.types.items():
        if kind not in TYPES:
            raise ValueError(f"{path}: {key} is {kind}, expected one of {', '.join(TYPES)}")
    return _entry(path, header.texts)


@dataclass(frozen=True, kw_only=True)
class _Header:
    """Hold what a file says of its tensors."""

    shapes: Mapping[str, list[int]] | None = None  # by key; None where only reading would tell
    types: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def _open(path: Path) -> _Header:
    """Read the header of a LoRA file.

    Raises:
        ValueError: there is no such file, or it is of another kind or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        # A run's folder holds one for each dataset.
        inside = sorted(path.glob("*.safetensors")) + sorted(path.glob("*/semantic.safetensors"))
        example = f", such as {inside[-1]}" if inside else ""
        raise ValueError(f"{path}: is a folder; name a LoRA file{example}")
    if not path.is_file():
        raise ValueError(f"{path}: no such LoRA file")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: not a {' or '.join(SUFFIXES)} file")
    if path.suffix == ".pt":
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path}: not a readable .pt file of torch.save")
        return _Header()
    try:
        with safe_open(path, framework="np") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return _Header(
                shapes={key: part.get_shape() for key, part in parts.items()},
                types={key: part.get_dtype() for key, part in parts.items()},
                texts=file.metadata() or {},
            )
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def _entry(path: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return our own entry of a header; empty without one."""
    try:
        entry = json.loads(texts.get("pairedit", "{}"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged ({error})") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged (not a mapping)")
    for name in TEXTS:
        value = entry.get(name, "")
        if not isinstance(value, str) or CONTROL.search(value):
            raise ValueError(f"{path}: the header entry 'pairedit' is damaged ({name} is no name)")
    return entry


def read_lora(path: Path, names: Names = UNKNOWN) -> LoraFile:
    """Read a LoRA file of any layout of `layouts`.

    Args:
        path: a .safetensors file, or a .pt file of tensors; no code in it is ever run.
        names: of the modules of the base model. Without them a file is read whose modules have
            the names that they have in the model, as those of a training do.

    Returns:
        Its weights as float32, with any alpha folded into B.

    Raises:
        ValueError: names the file and what is wrong: not readable, unknown keys, shapes that
            do not belong together, values that are not finite.
    """
    from safetensors.torch import load

    metadata, content, header = inspect_lora(path, names), path.read_bytes(), _open(path)
    tensors = _unpickle(path, content) if path.suffix == ".pt" else load(content)
    shapes = {key: list(value.shape) for key, value in tensors.items()}
    entries = _read_keys(path, shapes, names)
    # As float32, in which a large float64 is infinite.
    tensors = {key: value.float() for key, value in tensors.items()}
    broken = [key for key, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{path}: {len(broken)} tensors hold NaN or infinity, first {broken[0]}")
    scaling = _noted_scaling(path, header.texts.get("lora_adapter_metadata"))
    read = from_tensors(tensors, entries)
    weights = {module: (a, b * scaling) for module, (a, b) in read.items()}
    if not weights:
        raise ValueError(f"{path}: every update in it is zero")
    digest = hashlib.sha256(content).hexdigest()
    return LoraFile(path=path, weights=weights, metadata=metadata, sha256=digest)


def _unpickle(path: Path, content: bytes) -> dict[str, Tensor]:
    """Read a .pt file that holds named tensors and nothing else."""
    import torch

    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # The unpickler raises nearly anything on a damaged file.
        raise ValueError(f"{path}: not a file of tensors alone, refused unread") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in tensors.items()
    ):
        raise ValueError(f"{path}: not a mapping of names to tensors")
    return tensors


def _read_keys(path: Path, shapes: Mapping[str, list[int]], names: Names) -> list[Entry]:
    """Refuse what `read_keys` refuses, in the name of the file."""
    try:
        return read_keys(shapes, names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _noted_scaling(path: Path, noted: str | None) -> float:
    """Return alpha / rank from the header entry that diffusers writes; 1 without one."""
    if noted is None:
        return 1.0
    try:
        config = json.loads(noted)
        patterns = [config.get(f"transformer.{key}_pattern") for key in ("alpha", "rank")]
        scaling = config["transformer.lora_alpha"] / config["transformer.r"]
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: 'lora_adapter_metadata' is damaged ({error!r})") from error
    except RecursionError as error:
        raise ValueError(f"{path}: 'lora_adapter_metadata' is damaged (too deep)") from error
    if any(patterns):
        raise ValueError(f"{path}: an alpha or rank for each module is not supported")
    if not abs(scaling) < MOST_SCALING:
        raise ValueError(f"{path}: alpha / rank in 'lora_adapter_metadata' is {scaling}")
    return scaling

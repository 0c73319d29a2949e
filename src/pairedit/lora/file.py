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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pairedit
from pairedit.files import replacing
from pairedit.lora.layouts import check_shapes, from_tensors, to_tensors

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".safetensors", ".pt")
TYPES = ("BF16", "F16", "F32", "F64")
NAMES = ("base_model", "dataset", "method", "role")  # texts in the metadata, shown to the user
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
) -> None:
    """Write one LoRA, by default so that diffusers and ComfyUI read it.

    Args:
        path: the file, .safetensors or .pt, replaced at once or not at all.
        weights: see `Adapters.weights`.
        metadata: JSON values; the package version is added. A .pt file has no room for them.
        layout: see `layouts`.

    Raises:
        ValueError: modules that the layout cannot hold.
    """
    import torch
    from safetensors.torch import save

    tensors = to_tensors(weights, layout)
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
        ValueError: see `inspect_lora`.
    """
    known = inspect_lora(path)
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


def inspect_lora(path: Path) -> dict[str, Any]:
    """Check what can be checked of a LoRA file without loading weights or torch.

    Args:
        path: a .safetensors or .pt file; of the latter only that it is one.

    Returns:
        The metadata of `write_lora`; empty for a file of another origin.

    Raises:
        ValueError: names the file and the first thing wrong with it.
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
        return {}
    try:
        with safe_open(path, framework="np") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            shapes = {key: part.get_shape() for key, part in parts.items()}
            types = {key: part.get_dtype() for key, part in parts.items()}
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    _check(path, shapes)
    for key, kind in types.items():
        if kind not in TYPES:
            raise ValueError(f"{path}: {key} is {kind}, expected one of {', '.join(TYPES)}")
    try:
        entry = json.loads(metadata.get("pairedit", "{}"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged ({error})") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged (not a mapping)")
    for name in NAMES:
        value = entry.get(name, "")
        if not isinstance(value, str) or CONTROL.search(value):
            raise ValueError(f"{path}: the header entry 'pairedit' is damaged ({name} is no name)")
    return entry


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA file of any layout of `layouts`.

    Args:
        path: a .safetensors file, or a .pt file of tensors; no code in it is ever run.

    Returns:
        Its weights as float32, with any alpha folded into B.

    Raises:
        ValueError: names the file and what is wrong: not readable, unknown keys, shapes that
            do not belong together, values that are not finite.
    """
    from safetensors import safe_open
    from safetensors.torch import load

    metadata, content, noted = inspect_lora(path), path.read_bytes(), None
    if path.suffix == ".pt":
        tensors = _unpickle(path, content)
        _check(path, {key: list(value.shape) for key, value in tensors.items()})
    else:
        tensors = load(content)
        with safe_open(path, framework="np") as file:
            noted = (file.metadata() or {}).get("lora_adapter_metadata")
    # As float32, in which a large float64 is infinite.
    tensors = {key: value.float() for key, value in tensors.items()}
    broken = [key for key, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{path}: {len(broken)} tensors hold NaN or infinity, first {broken[0]}")
    scaling = _noted_scaling(path, noted)
    weights = {module: (a, b * scaling) for module, (a, b) in from_tensors(tensors).items()}
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


def _check(path: Path, shapes: Mapping[str, list[int]]) -> None:
    """Refuse what `check_shapes` refuses, in the name of the file."""
    try:
        check_shapes(shapes)
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

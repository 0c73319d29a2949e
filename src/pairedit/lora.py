"""Own LoRA files: safetensors in diffusers' layout, and what is written beside the weights.

    transformer.<module>.lora_A.weight  [rank, in]
    transformer.<module>.lora_B.weight  [out, rank], with alpha / rank folded in

so that any reader's default, alpha = rank at strength 1, is our scale 1.0. The header holds one
entry, `pairedit`: JSON with version, base_model, method, role, step, rank and config. One
entry, because safetensors writes several in random order and equal runs would differ in bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pairedit
from pairedit.data import replacing

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "transformer."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
# Projections by name. `attention` is what PairEdit trains: 8 in a double block, 3 in a single one.
TARGETS = {
    "attention": (
        r"attn\.to_(q|k|v)",
        r"attn\.to_out\.0",
        r"attn\.add_(q|k|v)_proj",
        r"attn\.to_add_out",
    ),
}


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
    path: Path, weights: Mapping[str, tuple[Tensor, Tensor]], metadata: Mapping[str, Any]
) -> None:
    """Write one LoRA so that diffusers and ComfyUI read it.

    Args:
        path: the file, replaced at once or not at all.
        weights: see `Adapters.weights`.
        metadata: JSON values; the package version is added.
    """
    from safetensors.torch import save

    tensors = {}
    for module, (down, up) in weights.items():
        tensors[PREFIX + module + DOWN] = down.contiguous()
        tensors[PREFIX + module + UP] = up.contiguous()
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
    """Check a LoRA file's header without loading weights or torch.

    Args:
        path: a safetensors file.

    Returns:
        The metadata of `write_lora`; empty for a file of another origin.

    Raises:
        ValueError: names the file and the first thing wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path}: no such LoRA file")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: not a .safetensors file")
    try:
        with safe_open(path, framework="np") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    _check_keys(path, shapes)
    try:
        entry = json.loads(metadata.get("pairedit", "{}"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged ({error})") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged (not a mapping)")
    return entry


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA file in diffusers' layout.

    Args:
        path: a file of ours, or another one whose layout is the same.

    Returns:
        Its weights as float32, with any alpha that diffusers noted in the header folded into B.

    Raises:
        ValueError: names the file and what is wrong: not safetensors, other keys, shapes that
            do not belong together, values that are not finite.
    """
    from safetensors import safe_open
    from safetensors.torch import load

    metadata = inspect_lora(path)
    with safe_open(path, framework="np") as file:
        noted = (file.metadata() or {}).get("lora_adapter_metadata")
    content = path.read_bytes()
    tensors = load(content)
    broken = [key for key, value in tensors.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{path}: {len(broken)} tensors hold NaN or infinity, first {broken[0]}")
    modules = [key[len(PREFIX) : -len(DOWN)] for key in tensors if key.endswith(DOWN)]
    weights = {}
    for module in sorted(modules):
        down = tensors[PREFIX + module + DOWN].float()
        up = tensors[PREFIX + module + UP].float()
        weights[module] = (down, up * _noted_scaling(path, noted))
    digest = hashlib.sha256(content).hexdigest()
    return LoraFile(path=path, weights=weights, metadata=metadata, sha256=digest)


def _check_keys(path: Path, shapes: Mapping[str, list[int]]) -> None:
    """Refuse keys of another layout, halves without the other half, and wrong shapes."""
    if not shapes:
        raise ValueError(f"{path}: holds no tensor")
    for key, shape in shapes.items():
        if not key.startswith(PREFIX) or not key.endswith((DOWN, UP)):
            raise ValueError(
                f"{path}: key {key!r} is not of diffusers' layout {PREFIX}<module>{DOWN} or {UP}"
            )
        other = key[: -len(DOWN)] + (UP if key.endswith(DOWN) else DOWN)
        if other not in shapes:
            raise ValueError(f"{path}: {key} has no partner {other}")
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"{path}: {key} has shape {shape}, expected two dimensions")
        if key.endswith(DOWN) and len(shapes[other]) == 2 and shape[0] != shapes[other][1]:
            raise ValueError(f"{path}: ranks of {key} {shape} and {other} {shapes[other]} differ")


def _noted_scaling(path: Path, noted: str | None) -> float:
    """Return alpha / rank from the header entry that diffusers writes; 1 without one."""
    if noted is None:
        return 1.0
    try:
        config = json.loads(noted)
        patterns = [config.get(f"transformer.{key}_pattern") for key in ("alpha", "rank")]
        scaling = config["transformer.lora_alpha"] / config["transformer.r"]
    except (json.JSONDecodeError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{path}: 'lora_adapter_metadata' is damaged ({error!r})") from error
    if any(patterns):
        raise ValueError(f"{path}: an alpha or rank for each module is not supported")
    return scaling

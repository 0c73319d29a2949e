"""Own LoRA files: safetensors in diffusers' layout, and what is written beside the weights.

    transformer.<module>.lora_A.weight  [rank, in]
    transformer.<module>.lora_B.weight  [out, rank], with alpha / rank folded in

so that any reader's default, alpha = rank at strength 1, is our scale 1.0. The header's entry
`pairedit` is JSON with version, base_model, method, role, step, rank and config; beside it stand
the entries that other programs show, see `spec`. Files of other layouts, and .pt files that hold
nothing but tensors, are read and written too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pairedit
from pairedit.files import replacing
from pairedit.lora import spec
from pairedit.lora.header import Header, checksum, read_header, with_texts
from pairedit.lora.keys import Keys, read_keys
from pairedit.lora.layouts import biases_from, from_tensors, to_tensors
from pairedit.lora.names import UNKNOWN, Names
from pairedit.lora.pickled import unpickle
from pairedit.lora.refusals import check_types, damaged
from pairedit.lora.scaling import Noted, find_noted

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pt")
# Other suffixes of these two kinds; the content says which of the two a file is.
READABLE = (*SUFFIXES, ".sft", ".bin", ".pth", ".ckpt")
OWN = "pairedit"  # our entry of the header
CHECKPOINT = "checkpoint"  # that of `runs.checkpoints`
TEXTS = ("base_model", "dataset", "method", "role")  # in the metadata, shown to the user
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """Hold one LoRA as read from disk."""

    path: Path
    # module: (A [rank, in], B [out, rank]), float32
    weights: Mapping[str, tuple[Tensor, Tensor]] = field(repr=False)
    # what `write_lora` was given; empty for a foreign file
    metadata: Mapping[str, Any] = field(repr=False)
    sha256: str  # of the tensors' bytes: what is noted in a header later leaves it as it is
    # module: b [out], float32, added to what comes out at scale 1; few files have any
    biases: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    # further entries of the header
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def rank(self) -> int:
        """Return the largest rank of any module."""
        return max(len(down) for down, _ in self.weights.values())


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Hold what the header of a LoRA file tells."""

    metadata: dict[str, Any]  # of `write_lora`; empty for a file of another origin
    role: str | None  # see `role_of`
    width: int | None  # features of a token in its model, where that can be told


def write_lora(
    path: Path,
    weights: Mapping[str, tuple[Tensor, Tensor]],
    metadata: Mapping[str, Any],
    layout: str = "diffusers",
    names: Names = UNKNOWN,
    texts: Mapping[str, str] | None = None,
    biases: Mapping[str, Tensor] | None = None,
) -> None:
    """Write one LoRA, by default so that diffusers and ComfyUI read it.

    Args:
        path: the file, .safetensors or .pt, replaced at once or not at all.
        weights: see `Adapters.weights`.
        metadata: JSON values; the package version is added. A .pt file has no room for them.
        layout: see `layouts`.
        names: of the modules of the base model; `diffusers` needs none.
        texts: entries of another header, which are kept as far as they still hold.
        biases: see `LoraFile`.

    Raises:
        ValueError: modules that the layout cannot hold.
    """
    import torch
    from safetensors.torch import save

    tensors = to_tensors(weights, layout, names, biases)
    if path.suffix.lower() == ".pt":
        with replacing(path) as temporary:
            torch.save(tensors, temporary)
        return
    content = save(tensors)
    rank = max(len(down) for down, _ in weights.values())
    kept = {key: value for key, value in (texts or {}).items() if key not in spec.STALE}
    entries = {
        **spec.merged(kept, metadata, metadata),
        **spec.of_file(metadata, names, rank, checksum(content)),
        OWN: json.dumps({"version": pairedit.__version__, **metadata}, sort_keys=True),
    }
    with replacing(path) as temporary:
        # Bytes, not save_file, whose files nobody but their owner may read.
        temporary.write_bytes(with_texts(content, entries))


def annotate_lora(path: Path, texts: Mapping[str, str] | None = None, **entries: Any) -> None:
    """Change entries of a LoRA file's metadata; the weights keep their bytes.

    Args:
        path: a safetensors file, replaced at once or not at all.
        texts: further entries of the header, for other programs.
        entries: JSON values by name; None takes an entry away.

    Raises:
        ValueError: not a safetensors file, or its entry is damaged.
    """
    header = _header(path)
    known = _entry(path, header)
    changed = {k: v for k, v in {**known, **entries}.items() if v is not None}
    shown = spec.merged(header.texts, known, changed) | dict(texts or {})
    shown[OWN] = json.dumps(changed, sort_keys=True)
    content = with_texts(path.read_bytes(), shown)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def role_of(path: Path) -> str | None:
    """Say what a file is for, without torch: its role in a method.

    Returns:
        `semantic` for a slider, `content` for a LoRA that holds what a pair or an image looks like,
        the role of another method, `checkpoint` for the state of a training, or None where it is
        not known.

    Raises:
        ValueError: not a readable file, or its entry is damaged.
    """
    return _role(path, _header(path))


def inspect_lora(path: Path, names: Names = UNKNOWN) -> dict[str, Any]:
    """Check a LoRA file as `look_into` does; return its metadata."""
    return look_into(path, names).metadata


def look_into(path: Path, names: Names = UNKNOWN) -> Inside:
    """Check what can be checked of a LoRA file without loading weights or torch.

    Args:
        path: a .safetensors or .pt file; of the latter only that it is one.
        names: see `read_lora`.

    Raises:
        ValueError: names the file and the first thing wrong with it.
    """
    header = _header(path)
    if header is None:
        return Inside(metadata={}, role=_role(path, header), width=None)
    keys, _ = _keys(path, header.shapes, names, header.texts)
    try:
        check_types({key: header.types[key] for key in keys.used}, header.texts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    ends = re.compile(rf".*\.({names.reads})")
    read = (e for e in keys.entries if all(map(ends.fullmatch, e.part.modules[:1])))
    width = next((header.shapes[entry.down][1] for entry in read), None)
    return Inside(metadata=_entry(path, header), role=_role(path, header), width=width)


def read_lora(path: Path, names: Names = UNKNOWN) -> LoraFile:
    """Read a LoRA file of any layout that is known; see docs/files.md.

    Args:
        path: a .safetensors file, or a .pt file of tensors; no code in it is ever run.
        names: of the modules of the base model. Without them a file is read whose modules have
            the names that they have in the model, as those of a training do.

    Returns:
        Its weights as float32, with any alpha folded into B. A line in the log counts what is
        left out.

    Raises:
        ValueError: names the file and what is wrong: not readable, unknown keys, shapes that
            do not belong together, values that are not finite.
    """
    from safetensors.torch import load

    metadata, header, content = inspect_lora(path, names), _header(path), path.read_bytes()
    tensors = unpickle(path, content) if header is None else load(content)
    texts = {} if header is None else header.texts
    shapes = {key: list(value.shape) for key, value in tensors.items()}
    keys, noted = _keys(path, shapes, names, texts)
    # As float32, in which a large float64 is infinite.
    tensors = {key: tensors[key].float() for key in keys.used}
    broken = [key for key, value in tensors.items() if not value.isfinite().all()]
    try:
        if broken:
            raise ValueError(f"{len(broken)} tensors hold NaN or infinity, first {broken[0]}")
        weights = from_tensors(tensors, keys.entries, noted)
        biases = biases_from(tensors, keys.biases, noted)
        if not weights:
            only = "only its biases are not zero" if biases else "every update in it is zero"
            raise ValueError(only)
    except ValueError as error:
        raise ValueError(f"{path}: {damaged(str(error), shapes, texts)}") from error
    if keys.left:
        counts = ", ".join(f"{count} {what}" for what, count in keys.left.items())
        count = f"{len(weights)} module{'s' * (len(weights) > 1)}"
        log.warning("%s: LoRAs of %s; left out: %s", path, count, counts)
    return LoraFile(
        path=path,
        weights=weights,
        metadata=metadata,
        sha256=hashlib.sha256(content).hexdigest() if header is None else checksum(content),
        texts={key: value for key, value in texts.items() if key != OWN},
        biases=biases,
    )


def _header(path: Path) -> Header | None:
    """Read the header of a LoRA file; None for a .pt file, which has none.

    Raises:
        ValueError: there is no such file, or it is of another kind or damaged.
    """
    if path.is_dir():
        # A run's folder holds one for each dataset.
        inside = sorted(path.glob("*.safetensors")) + sorted(path.glob("*/semantic.safetensors"))
        example = f", such as {inside[-1]}" if inside else ""
        raise ValueError(f"{path}: is a folder; name a LoRA file{example}")
    if not path.is_file():
        raise ValueError(f"{path}: no such LoRA file")
    if path.suffix.lower() not in READABLE:
        raise ValueError(f"{path}: not a {' or '.join(SUFFIXES)} file")
    if zipfile.is_zipfile(path):
        return None
    try:
        return read_header(path)
    except ValueError as error:
        if path.suffix.lower() in (".safetensors", ".sft") or ": is " in str(error):
            raise
        kind = path.suffix.lower()
        raise ValueError(f"{path}: not a readable {kind} file of torch.save") from error


def _role(path: Path, header: Header | None) -> str | None:
    """Say what a file is for by its header, or where it has none by its name."""
    if header is None:
        # The published code writes its content LoRA under this name.
        return "content" if path.stem.endswith("_0") else None
    return CHECKPOINT if CHECKPOINT in header.texts else _entry(path, header).get("role")


def _entry(path: Path, header: Header | None) -> dict[str, Any]:
    """Return our own entry of a header; empty without one."""
    if header is None:
        raise ValueError(f"{path}: a .pt file has no room for metadata")
    try:
        entry = json.loads(header.texts.get(OWN, "{}"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged ({error})") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: the header entry 'pairedit' is damaged (not a mapping)")
    for name in TEXTS:
        value = entry.get(name, "")
        if not isinstance(value, str) or CONTROL.search(value):
            raise ValueError(f"{path}: the header entry 'pairedit' is damaged ({name} is no name)")
    return entry


def _keys(
    path: Path, shapes: Mapping[str, list[int]], names: Names, texts: Mapping[str, str]
) -> tuple[Keys, Noted | None]:
    """Read a file's keys and the alphas that stand elsewhere; a refusal names the file."""
    try:
        return read_keys(shapes, names, texts), find_noted(path, texts, shapes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error

"""Own the header of a safetensors file: what it says about the tensors, and the texts in it.

    8 bytes: the header's length | the header: JSON, padded with blanks | the tensors' bytes

Texts are written by hand and sorted: safetensors writes several in random order, and equal runs
would differ in bytes.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Header:
    """Hold what a file says of its tensors."""

    shapes: Mapping[str, list[int]]  # by key
    types: Mapping[str, str]  # by key, such as F16
    texts: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file.

    Raises:
        ValueError: it is none, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return Header(
                shapes={key: part.get_shape() for key, part in parts.items()},
                types={key: part.get_dtype() for key, part in parts.items()},
                texts=file.metadata() or {},
            )
    except (SafetensorError, OSError) as error:
        if other := _instead(path):
            raise ValueError(f"{path}: is {other}, not the file itself; fetch it again") from error
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def checksum_of(path: Path) -> str:
    """Return what `LoraFile.sha256` is for a file; one without our kind of header counts whole.

    Raises:
        ValueError: it is damaged.
    """
    content = path.read_bytes()
    whole = zipfile.is_zipfile(path) or "checkpoint" in read_header(path).texts
    return hashlib.sha256(content).hexdigest() if whole else checksum(content)


def with_texts(content: bytes, texts: Mapping[str, str]) -> bytes:
    """Give the bytes of a safetensors file other texts; the tensors keep their bytes."""
    start = _start(content)
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(texts)
    # The tensors in the order of their bytes, as safetensors itself writes them.
    places = {key: value.get("data_offsets", [-1]) for key, value in header.items()}
    ordered = {key: header[key] for key in sorted(header, key=lambda key: (places[key], key))}
    ordered["__metadata__"] = dict(sorted(texts.items()))
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format's own alignment
    return len(text).to_bytes(8, "little") + text + content[start:]


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a safetensors file's tensors, whatever its texts say."""
    return hashlib.sha256(content[_start(content) :]).hexdigest()


def _instead(path: Path) -> str | None:
    """Say what a broken download often leaves in place of a file."""
    try:
        with path.open("rb") as file:
            begins = file.read(64).lstrip()
    except OSError:
        return None  # the error says why
    if begins.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS"
    return "a web page" if begins.startswith(b"<") else None


def _start(content: bytes) -> int:
    """Return where the tensors begin."""
    return 8 + int.from_bytes(content[:8], "little")

"""Own what a key of a LoRA file says: which modules it belongs to, and which side of the LoRA.

<prefix><name><ending>    transformer.  transformer_blocks.0.attn.to_q  .lora_A.weight
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pairedit.lora.names import Names, Part

OURS = "transformer."
PREFIXES = (OURS, "lora_unet_")
# Of A [rank, in] and of B [out, rank].
ENDINGS = ((".lora_A.weight", ".lora_B.weight"), (".lora_down.weight", ".lora_up.weight"))
ALPHA = ".alpha"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Hold the keys of one LoRA in a file."""

    part: Part
    down: str
    up: str
    alpha: str | None


def read_keys(shapes: Mapping[str, Sequence[int]], names: Names) -> list[Entry]:
    """Put the keys of a file together, one entry for each LoRA.

    Args:
        shapes: of every tensor of the file, by key.
        names: of the modules of the base model.

    Raises:
        ValueError: the first thing wrong: keys of no known layout, halves without the other half,
            wrong shapes.
    """
    if not shapes:
        raise ValueError("holds no tensor")
    entries = []
    for key, shape in shapes.items():
        stem, ending, part = _cut(key, names)
        if ending == ALPHA:
            if not any(stem + down in shapes for down, _ in ENDINGS):
                raise ValueError(f"{key} has no partner {stem}{ENDINGS[1][0]}")
            if any(side != 1 for side in shape):
                raise ValueError(f"{key} has shape {list(shape)}, expected a number")
            continue
        pair = next(pair for pair in ENDINGS if ending in pair)
        other = stem + pair[ending == pair[0]]
        if other not in shapes:
            raise ValueError(f"{key} has no partner {other}")
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"{key} has shape {list(shape)}, expected two dimensions")
        partner = shapes[other]
        if ending == pair[1]:
            if len(partner) == 2:
                part.sizes(shape[0], partner[1])
            continue
        if len(partner) == 2 and shape[0] != partner[1]:
            raise ValueError(f"ranks of {key} {list(shape)} and {other} {list(partner)} differ")
        alpha = stem + ALPHA if stem + ALPHA in shapes else None
        entries.append(Entry(part=part, down=key, up=other, alpha=alpha))
    return entries


def _cut(key: str, names: Names) -> tuple[str, str, Part]:
    """Split a key into stem and ending, with what the stem stands for.

    Raises:
        ValueError: a key of no known layout.
    """
    for ending in (*_flat(ENDINGS), ALPHA):
        stem = key.removesuffix(ending)
        if stem != key and (part := _part(stem, names)):
            return stem, ending, part
    raise ValueError(
        f"key {key!r} is of no known layout: diffusers' {OURS}<module>.lora_A.weight, or "
        f"{PREFIXES[1]}<module>.lora_down.weight of kohya or of the published code"
    )


def _part(stem: str, names: Names) -> Part | None:
    """Return what a key's stem stands for; None if it is of no known layout."""
    for prefix in PREFIXES:
        name = stem.removeprefix(prefix)
        if name == stem:
            continue
        if part := names.find(name):
            return part
        if prefix == OURS:
            # What the model lacks is said when it is attached.
            return Part(name=name, modules=(name,))
    return None


def _flat(pairs: Iterable[Iterable[str]]) -> list[str]:
    """Put pairs in one list."""
    return [ending for pair in pairs for ending in pair]

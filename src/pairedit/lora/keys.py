"""Own what a key of a LoRA file says: which modules it belongs to, and which side of the LoRA.

    <prefixes><name><ending>    transformer.  transformer_blocks.0.attn.to_q  .lora_A.weight

Any prefix, any spelling of a name that the base model knows, and any ending go together, so that
what one program writes in the style of another is read as well. Keys of other things than the
transformer's linear modules are counted, never used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pairedit.lora.names import Names, Part
from pairedit.lora.refusals import check_kind, refusal

# diffusers; ComfyUI; PEFT; sd-scripts; OneTrainer; LyCORIS; torch's compiler and wrappers.
_PREFIXES = re.compile(
    r"(?:transformer\.|diffusion_model\.|model\.diffusion_model\.|base_model\.model\.|"
    r"lora_unet_|lora_transformer_|lycoris_|_orig_mod\.|module\.)+"
)
# lora_A.weight and lora_A.<adapter>.weight of PEFT, lora_down.weight of sd-scripts,
# lora.down.weight of older diffusers, down.weight behind the names that XLabs uses.
_SIDE = re.compile(
    r"(?P<stem>.+?)\.(?:lora_linear_layer\.|lora_|lora\.)?(?P<side>A|B|down|up)"
    r"(?:\.[\w-]+)?\.weight"
)
_OTHER = {"A": "B", "B": "A", "down": "up", "up": "down"}
_ALPHA = ".alpha"
# What no slider needs, by what it is called in the line that counts it.
_LEFT = {
    "of text encoders": re.compile(
        r"(base_model\.model\.)?(lora_te\d*_|text_encoders?(_\d+)?\.|text_model\.|clip_[lg]\.|t5xxl\.)"
    ),
    "of embeddings": re.compile(r"(bundle_emb|emb_params|string_to_param)"),
    "that change biases": re.compile(r".*\.(diff_b|b_norm)$"),
}
_OF_VECTORS = "that change norms"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Hold the keys of one LoRA in a file."""

    name: str  # of its module or matrix, as the file spells it, without prefixes
    part: Part
    down: str
    up: str
    alpha: str | None


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Hold what the keys of a file say."""

    entries: tuple[Entry, ...]
    left: Mapping[str, int]  # how many tensors are left out, by what they are


def read_keys(
    shapes: Mapping[str, Sequence[int]], names: Names, texts: Mapping[str, str] | None = None
) -> Keys:
    """Put the keys of a file together, one entry for each LoRA.

    Args:
        shapes: of every tensor of the file, by key.
        names: of the modules of the base model.
        texts: of the file's header, which may tell what program wrote it.

    Raises:
        ValueError: the first thing wrong: another kind of file, keys of no known layout, halves
            without the other half, wrong shapes.
    """
    if not shapes:
        raise ValueError("holds no tensor")
    left: Counter[str] = Counter()
    kept = {}
    for key, shape in shapes.items():
        reason = next((reason for reason, form in _LEFT.items() if form.match(key)), None)
        if reason is None and key.endswith((".diff", ".w_norm")) and len(shape) == 1:
            reason = _OF_VECTORS
        if reason:
            left[reason] += 1
        else:
            kept[key] = shape
    check_kind(kept, texts or {})
    entries, alphas = [], {}
    for key, shape in kept.items():
        side = _SIDE.fullmatch(key)
        if side:
            entry = _entry(key, side, kept, names, texts or {})
            entries += [entry] if entry else []
        elif key.endswith(_ALPHA) and _part(_name(key.removesuffix(_ALPHA)), names, key):
            alphas[key.removesuffix(_ALPHA)] = key
            if any(length != 1 for length in shape):
                raise ValueError(f"{key} has shape {list(shape)}, expected a number")
        else:
            raise ValueError(refusal(key, kept, texts or {}, names))
    stems = {_SIDE.fullmatch(entry.down)["stem"] for entry in entries}
    for stem, key in alphas.items():
        if stem not in stems:
            raise ValueError(f"{key} has no partner {stem}.lora_down.weight")
    if not entries:
        counts = ", ".join(f"{count} {reason}" for reason, count in left.items())
        raise ValueError(f"holds no LoRA of the transformer, only tensors {counts}")
    return Keys(entries=tuple(_once(entries, left)), left=dict(sorted(left.items())))


def _entry(
    key: str,
    side: re.Match[str],
    shapes: Mapping[str, Sequence[int]],
    names: Names,
    texts: Mapping[str, str],
) -> Entry | None:
    """Check one side of a LoRA against the other; return the entry for A, None for B."""
    shape, stem = shapes[key], side["stem"]
    name = _name(stem)
    part = _part(name, names, key)
    if part is None:
        raise ValueError(refusal(key, shapes, texts, names))
    other = key[: side.start("side")] + _OTHER[side["side"]] + key[side.end("side") :]
    if other not in shapes:
        raise ValueError(f"{key} has no partner {other}")
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{key} has shape {list(shape)}, expected two dimensions")
    partner = shapes[other]
    if side["side"] in ("B", "up"):
        if len(partner) == 2:
            part.sizes(shape[0], partner[1])
        return None
    if len(partner) == 2 and shape[0] != partner[1]:
        raise ValueError(f"ranks of {key} {list(shape)} and {other} {list(partner)} differ")
    alpha = stem + _ALPHA if stem + _ALPHA in shapes else None
    return Entry(name=name, part=part, down=key, up=other, alpha=alpha)


def _once(entries: Iterable[Entry], left: Counter[str]) -> list[Entry]:
    """Keep one LoRA for each module.

    Some files hold the same LoRA under the names of diffusers and of the original.

    Raises:
        ValueError: two of one module under the same kind of name.
    """
    # What has the model's own name counts first, as in diffusers.
    ordered = sorted(entries, key=lambda entry: entry.part.modules[0] != entry.part.name)
    kept: dict[str, Entry] = {}
    for entry in ordered:
        known = next((kept[module] for module in entry.part.modules if module in kept), None)
        if known is None:
            kept |= dict.fromkeys(entry.part.modules, entry)
        elif (known.part.modules[0] == known.part.name) is not (
            entry.part.modules[0] == entry.part.name
        ):
            left["that stand there twice, under other names"] += 2 + (entry.alpha is not None)
        else:
            raise ValueError(f"{known.down} and {entry.down} are two LoRAs of one module")
    chosen = set(map(id, kept.values()))
    return [entry for entry in entries if id(entry) in chosen]


def _name(stem: str) -> str:
    """Take the prefixes off a key's stem."""
    prefix = _PREFIXES.match(stem)
    return stem[prefix.end() :] if prefix else stem


def _part(name: str, names: Names, key: str) -> Part | None:
    """Return what a name stands for; None if the base model knows no such module."""
    if not names.kinds and key.startswith("transformer."):
        # Of a base that nothing is known of: whether it has the module is seen when attaching.
        return Part(name=name, modules=(name,))
    return names.find(name)

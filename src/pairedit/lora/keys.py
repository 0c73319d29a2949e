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
from typing import TypeVar

from pairedit.lora.names import Names, Part
from pairedit.lora.refusals import check_kind, damaged, refusal

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
# lora_B.bias of PEFT, which alpha scales as it scales B; diff_b of ComfyUI, which it does not.
_BIAS = re.compile(
    r"(?P<stem>.+?)\.(?:(?:lora_linear_layer\.|lora_|lora\.)(?:B|up)(?:\.[\w-]+)?\.bias|diff_b)"
)
_OTHER = {"A": "B", "B": "A", "down": "up", "up": "down"}
_ALPHA = ".alpha"
# What no slider needs, by what it is called in the line that counts it.
_LEFT = {
    "of text encoders": re.compile(
        r"(base_model\.model\.)?(lora_te\d*_|text_encoders?(_\d+)?\.|text_model\.|clip_[lg]\.|t5xxl\.)"
    ),
    "of embeddings": re.compile(r"(bundle_emb|emb_params|string_to_param)"),
}
_OF_NORMS = "that change norms"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Hold the keys of one LoRA in a file."""

    name: str  # of its module or matrix, as the file spells it, without prefixes
    part: Part
    down: str
    up: str
    alpha: str | None

    @property
    def keys(self) -> list[str]:
        """List its keys."""
        return [key for key in (self.down, self.up, self.alpha) if key is not None]


@dataclass(frozen=True, kw_only=True)
class Bias:
    """Hold the key of a vector that is added to what comes out, at strength 1."""

    part: Part
    key: str
    of: Entry | None  # the LoRA whose alpha counts for it, too

    @property
    def keys(self) -> list[str]:
        """List its one key."""
        return [self.key]


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Hold what the keys of a file say."""

    entries: tuple[Entry, ...]
    biases: tuple[Bias, ...]
    left: Mapping[str, int]  # how many tensors are left out, by what they are

    @property
    def used(self) -> list[str]:
        """List the keys of all tensors that count."""
        return [key for found in (*self.entries, *self.biases) for key in found.keys]


Found = TypeVar("Found", Entry, Bias)


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
        raise ValueError("holds no tensor; fetch it again or save it again")
    kept, left = _sorted_out(shapes, names)
    check_kind(kept, texts or {})
    entries, alphas, others = [], {}, []
    for key, shape in kept.items():
        stem = _stem(key)
        if stem is None or _part(_name(stem), names, key) is None:
            raise ValueError(refusal(key, kept, texts or {}, names))
        try:
            if side := _SIDE.fullmatch(key):
                entry = _entry(key, side, kept, names)
                entries += [entry] if entry else []
            elif key.endswith(_ALPHA):
                alphas[stem] = key
                if any(length != 1 for length in shape):
                    raise ValueError(f"{key} has shape {list(shape)}, expected a number")
            else:
                others.append(key)
        except ValueError as error:
            raise ValueError(damaged(str(error), kept, texts or {})) from error
    try:
        biases = [_bias(key, entries, kept, names) for key in others]
        known = {_stem(entry.down) for entry in entries}
        for key in (key for stem, key in alphas.items() if stem not in known):
            raise ValueError(f"{key} has no partner {_stem(key)}.lora_down.weight")
        chosen, added = _once(entries, left), _once(biases, left)
    except ValueError as error:
        raise ValueError(damaged(str(error), kept, texts or {})) from error
    if not entries:
        counts = ", ".join(f"{count} {reason}" for reason, count in left.items())
        if biases:
            counts = f"{len(biases)} that change biases" + f", {counts}" * bool(counts)
        raise ValueError(f"holds no LoRA of the transformer, only tensors {counts}")
    return Keys(entries=chosen, biases=added, left=dict(sorted(left.items())))


def _sorted_out(
    shapes: Mapping[str, Sequence[int]], names: Names
) -> tuple[dict[str, Sequence[int]], Counter[str]]:
    """Return the tensors that a slider may need, and how many others there are of each kind."""
    kept, left = {}, Counter()
    for key, shape in shapes.items():
        reason = next((reason for reason, form in _LEFT.items() if form.match(key)), None)
        of_vector = key.endswith((".diff", ".w_norm")) and len(shape) == 1
        if of_vector or key.endswith(".b_norm"):
            reason = reason or _OF_NORMS
        if key.endswith(".diff_b") and _part(_name(_stem(key)), names, key) is None:
            # A norm's, or one of a layer that the model knows by no name.
            reason = reason or "that change other biases"
        if reason:
            left[reason] += 1
        else:
            kept[key] = shape
    return kept, left


def _stem(key: str) -> str | None:
    """Return the part of a key that names its module; None for a key of no LoRA."""
    form = _SIDE.fullmatch(key) or _BIAS.fullmatch(key)
    if form is None:
        return key.removesuffix(_ALPHA) if key.endswith(_ALPHA) else None
    return form["stem"]


def _entry(
    key: str, side: re.Match[str], shapes: Mapping[str, Sequence[int]], names: Names
) -> Entry | None:
    """Check one side of a LoRA against the other; return the entry for A, None for B."""
    shape, stem = shapes[key], side["stem"]
    name = _name(stem)
    part = _part(name, names, key)
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


def _bias(
    key: str, entries: Sequence[Entry], shapes: Mapping[str, Sequence[int]], names: Names
) -> Bias:
    """Check what is added to a module's output against the LoRA beside it."""
    part = _part(_name(_stem(key)), names, key)
    shape, of = shapes[key], None
    if not key.endswith(".diff_b"):
        up = key.removesuffix("bias") + "weight"
        of = next((entry for entry in entries if entry.up == up), None)
        if of is None:
            raise ValueError(f"{key} has no partner {up}")
    if len(shape) != 1 or (of and shape[0] != shapes[of.up][0]):
        rows = shapes[of.up][0] if of else "one number for each of the layer's outputs"
        raise ValueError(f"{key} has shape {list(shape)}, expected [{rows}]")
    part.split(shape[0])
    return Bias(part=part, key=key, of=of)


def _once(found: Iterable[Found], left: Counter[str]) -> tuple[Found, ...]:
    """Keep one LoRA, or one bias, for each module.

    Some files hold the same LoRA under the names of diffusers and of the original.

    Raises:
        ValueError: two of one module under the same kind of name.
    """
    found = list(found)
    # What has the model's own name counts first, as in diffusers.
    ordered = sorted(found, key=lambda entry: entry.part.modules[0] != entry.part.name)
    kept: dict[str, Found] = {}
    for entry in ordered:
        known = next((kept[module] for module in entry.part.modules if module in kept), None)
        if known is None:
            kept |= dict.fromkeys(entry.part.modules, entry)
        elif (known.part.modules[0] == known.part.name) is not (
            entry.part.modules[0] == entry.part.name
        ):
            left["that stand there twice, under other names"] += len(entry.keys)
        else:
            raise ValueError(f"{known.keys[0]} and {entry.keys[0]} are two LoRAs of one module")
    chosen = set(map(id, kept.values()))
    return tuple(entry for entry in found if id(entry) in chosen)


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

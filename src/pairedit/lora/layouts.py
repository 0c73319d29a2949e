"""Own the layouts of LoRA files: which keys hold which module, and where alpha goes.

    diffusers   transformer.transformer_blocks.0.attn.to_q.lora_A.weight, .lora_B.weight
    kohya       lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight, .lora_up.weight, .alpha
    published   lora_unet_transformer_blocks_0_attn_to_q.lora_down.weight, .lora_up.weight, .alpha

`kohya` is sd-scripts' and ComfyUI's: FLUX's own names, where q, k and v (and, in a single block,
the MLP) are one matrix. Their LoRAs are stacked into one whose B is block-diagonal, and taken
apart again by the rows of B that are not zero. `published` is what the PairEdit code writes: one
rank throughout, alpha 1. Here a LoRA is {module: (A [rank, in], B [out, rank])}, alpha = rank.
Sources: diffusers' loaders/lora_conversion_utils.py for the kohya names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pairedit.lora.targets import BLOCK, DOUBLE, SINGLE, TARGETS

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Mapping[str, tuple[Tensor, Tensor]]

LAYOUTS = ("diffusers", "kohya", "published")
PREFIX, OTHER_PREFIX = "transformer.", "lora_unet_"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
OTHER_DOWN, OTHER_UP, ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"
# kohya's module in a block: the diffusers modules it is made of, in row order.
KOHYA = {
    "double_blocks": {
        "img_mod_lin": ("norm1.linear",),
        "txt_mod_lin": ("norm1_context.linear",),
        "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "img_attn_proj": ("attn.to_out.0",),
        "txt_attn_proj": ("attn.to_add_out",),
        "img_mlp_0": ("ff.net.0.proj",),
        "img_mlp_2": ("ff.net.2",),
        "txt_mlp_0": ("ff_context.net.0.proj",),
        "txt_mlp_2": ("ff_context.net.2",),
    },
    "single_blocks": {
        "modulation_lin": ("norm.linear",),
        "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
        "linear2": ("proj_out",),
    },
}
OURS = {"double_blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}


def from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the tensors of a file of any layout.

    Args:
        tensors: by key, as `check_shapes` accepts them.

    Returns:
        Float32 A and B by module, modules in alphabetical order; any alpha / rank is in B.
    """
    weights: dict[str, tuple[Tensor, Tensor]] = {}
    for stem, down, up in _halves(tensors):
        a, b = tensors[down].float(), tensors[up].float()
        alpha = tensors.get(stem + ALPHA)
        if alpha is not None:
            b = b * (float(alpha) / len(a))
        weights |= _split(_modules(stem), a, b)
    return dict(sorted(weights.items()))


def to_tensors(weights: Weights, layout: str) -> dict[str, Tensor]:
    """Write a LoRA as the tensors of a file.

    Args:
        weights: A and B by module.
        layout: one of `LAYOUTS`.

    Raises:
        ValueError: modules that the layout cannot hold.
    """
    import torch

    if layout == "diffusers":
        tensors = {PREFIX + module + DOWN: down for module, (down, _) in weights.items()}
        tensors |= {PREFIX + module + UP: up for module, (_, up) in weights.items()}
        return {key: value.contiguous() for key, value in tensors.items()}
    if layout == "published":
        return _published(weights)
    outside = [module for module in weights if not re.match(BLOCK, module)]
    if outside:
        raise ValueError(f"layout=kohya: only modules of blocks, not {', '.join(outside[:3])}")
    tensors = {}
    for stem, parts in _kohya_groups(weights).items():
        down, up = _stack(weights, parts)
        tensors[stem + OTHER_DOWN] = down.contiguous()
        tensors[stem + OTHER_UP] = up.contiguous()
        tensors[stem + ALPHA] = torch.tensor(float(len(down)))
    return tensors


def check_shapes(shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse keys of no known layout, halves without the other half, and wrong shapes.

    Args:
        shapes: of every tensor of a file, by key.

    Raises:
        ValueError: the first thing wrong.
    """
    if not shapes:
        raise ValueError("holds no tensor")
    for key, shape in shapes.items():
        stem, ending = _cut(key)
        if ending == ALPHA:
            if stem + OTHER_DOWN not in shapes:
                raise ValueError(f"{key} has no partner {stem}{OTHER_DOWN}")
            if any(side != 1 for side in shape):
                raise ValueError(f"{key} has shape {list(shape)}, expected a number")
            continue
        other = stem + {DOWN: UP, UP: DOWN, OTHER_DOWN: OTHER_UP, OTHER_UP: OTHER_DOWN}[ending]
        if other not in shapes:
            raise ValueError(f"{key} has no partner {other}")
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"{key} has shape {list(shape)}, expected two dimensions")
        partner = shapes[other]
        if ending in (DOWN, OTHER_DOWN) and len(partner) == 2 and shape[0] != partner[1]:
            raise ValueError(f"ranks of {key} {list(shape)} and {other} {list(partner)} differ")
        if ending == OTHER_UP:
            _row_sizes(_modules(stem), shape[0], partner[-1])


def _cut(key: str) -> tuple[str, str]:
    """Split a key into the stem that names its modules and its ending.

    Raises:
        ValueError: a key of no known layout.
    """
    endings = (DOWN, UP) if key.startswith(PREFIX) else (OTHER_DOWN, OTHER_UP, ALPHA)
    for ending in endings:
        if key.endswith(ending) and _modules(key.removesuffix(ending)):
            return key.removesuffix(ending), ending
    raise ValueError(
        f"key {key!r} is of no known layout: diffusers' {PREFIX}<module>{DOWN}, or "
        f"{OTHER_PREFIX}<module>{OTHER_DOWN} of kohya or of the published code"
    )


def _modules(stem: str) -> tuple[str, ...]:
    """Return the modules that a key's stem stands for; none if it is of no known layout."""
    if stem.startswith(PREFIX):
        return (stem.removeprefix(PREFIX),)
    name = stem.removeprefix(OTHER_PREFIX)
    if name == stem:
        return ()
    if match := re.fullmatch(r"(double_blocks|single_blocks)_(\d+)_(\w+)", name):
        kind, index, part = match.groups()
        return tuple(f"{OURS[kind]}.{index}.{tail}" for tail in KOHYA[kind].get(part, ()))
    if match := re.fullmatch(r"((?:single_)?transformer_blocks)_(\d+)_(\w+)", name):
        kind, index, part = match.groups()
        tails = {t.replace(".", "_"): t for t in (SINGLE if kind[0] == "s" else DOUBLE)}
        return (f"{kind}.{index}.{tails[part]}",) if part in tails else ()
    return ()


def _halves(tensors: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    """Walk over a file's LoRAs: stem, key of A, key of B."""
    for key in tensors:
        for down, up in ((DOWN, UP), (OTHER_DOWN, OTHER_UP)):
            if key.endswith(down):
                stem = key.removesuffix(down)
                yield stem, key, stem + up


def _row_sizes(modules: Sequence[str], rows: int, features: int) -> list[int]:
    """Return how many rows of a stacked B belong to each of its modules.

    Args:
        modules: in row order.
        rows: of B.
        features: of A's input. In FLUX q, k and v map the model's width to itself.

    Raises:
        ValueError: too few rows.
    """
    if len(modules) == 1:
        return [rows]
    rest = rows - 3 * features
    if rest < 0 or (len(modules) == 3) is not (rest == 0):
        raise ValueError(f"{rows} rows of {', '.join(modules)} do not fit width {features}")
    return [features] * 3 + ([rest] if rest else [])


def _split(modules: Sequence[str], down: Tensor, up: Tensor) -> Weights:
    """Take a stacked LoRA apart, each part with the ranks that reach its rows."""
    if len(modules) == 1:
        return {modules[0]: (down, up)}
    found = {}
    for module, rows in zip(
        modules, up.split(_row_sizes(modules, len(up), down.shape[1])), strict=True
    ):
        used = rows.any(0)
        if used.any():
            found[module] = (down[used], rows[:, used])
    return found


def _kohya_groups(modules: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name kohya's modules that hold any of ours, each with all the modules it is made of."""
    held = {}
    for module in modules:
        block, index = re.match(BLOCK, module).groups()  # type: ignore[union-attr]
        (kind,) = (kind for kind, name in OURS.items() if name == block)
        for part, tails in KOHYA[kind].items():
            names = tuple(f"{block}.{index}.{tail}" for tail in tails)
            if module in names:
                held[f"{OTHER_PREFIX}{kind}_{index}_{part}"] = names
    return held


def _stack(weights: Weights, parts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Stack the LoRAs of some modules: A below A, B as a block-diagonal matrix."""
    import torch

    held = [part for part in parts if part in weights]
    down = torch.cat([weights[part][0] for part in held])
    if len(parts) == 1:
        return down, weights[parts[0]][1]
    width = down.shape[1]
    # What is left out counts with no rank, but with its rows; the MLP is four times as wide.
    rows = {part: width * (4 if part.endswith("proj_mlp") else 1) for part in parts}
    empty = [down.new_zeros(rows[part], 0) for part in parts]
    blocks = [
        weights[part][1] if part in weights else blank
        for part, blank in zip(parts, empty, strict=True)
    ]
    return down, torch.block_diag(*blocks)


def _published(weights: Weights) -> dict[str, Tensor]:
    """Write what the published code reads: attention only, one rank, alpha 1."""
    import torch
    from torch.nn.functional import pad

    attention = re.compile(rf"{BLOCK}({'|'.join(TARGETS['attention'])})")
    others = [module for module in weights if not attention.fullmatch(module)]
    if others:
        raise ValueError(
            f"layout=published: attention projections only, not {', '.join(others[:3])}"
        )
    rank = max(len(down) for down, _ in weights.values())
    tensors = {}
    for module, (down, up) in weights.items():
        stem, more = OTHER_PREFIX + module.replace(".", "_"), rank - len(down)
        tensors[stem + OTHER_DOWN] = pad(down, (0, 0, 0, more)).contiguous()
        # Differs from our files: that code scales by alpha / rank = 1 / rank whatever a file says.
        tensors[stem + OTHER_UP] = pad(up, (0, more)).contiguous() * rank
        tensors[stem + ALPHA] = torch.tensor(1.0)
    return tensors

"""Own the layouts that LoRA files are written in, and how tensors become LoRAs again.

    diffusers   transformer.transformer_blocks.0.attn.to_q.lora_A.weight, .lora_B.weight
    kohya       lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight, .lora_up.weight, .alpha
    published   lora_unet_transformer_blocks_0_attn_to_q.lora_down.weight, .lora_up.weight, .alpha

`kohya` is sd-scripts' and ComfyUI's: the original's names, where q, k and v (and, in a single
block, the MLP) are one matrix. Their LoRAs are stacked into one whose B is block-diagonal, and
taken apart again by the rows of B that are not zero. `published` is what the PairEdit code writes:
one rank throughout, alpha 1. Here a LoRA is {module: (A [rank, in], B [out, rank])}, alpha = rank.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairedit.lora.keys import ALPHA, ENDINGS, Entry
from pairedit.lora.names import Names, Part

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Mapping[str, tuple[Tensor, Tensor]]

(A, B), (DOWN, UP) = ENDINGS


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Hold one way to write a LoRA as the tensors of a file."""

    suffix: str  # of the file
    write: Callable[[Weights, Names], dict[str, Tensor]]  # raises ValueError for what it cannot


def from_tensors(
    tensors: Mapping[str, Tensor], entries: Iterable[Entry]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the tensors of a file of any layout.

    Args:
        tensors: by key.
        entries: what `read_keys` makes of the keys.

    Returns:
        Float32 A and B by module, modules in alphabetical order; any alpha / rank is in B.
    """
    weights: dict[str, tuple[Tensor, Tensor]] = {}
    for entry in entries:
        a, b = tensors[entry.down].float(), tensors[entry.up].float()
        if entry.alpha is not None:
            b = b * (float(tensors[entry.alpha]) / len(a))
        weights |= _split(entry.part, a, b)
    return dict(sorted(weights.items()))


def to_tensors(weights: Weights, layout: str, names: Names) -> dict[str, Tensor]:
    """Write a LoRA as the tensors of a file.

    Args:
        weights: A and B by module.
        layout: one of `LAYOUTS`.
        names: of the modules of the base model.

    Raises:
        ValueError: modules that the layout cannot hold.
    """
    return {key: value.contiguous() for key, value in LAYOUTS[layout].write(weights, names).items()}


def _split(part: Part, down: Tensor, up: Tensor) -> Weights:
    """Take a stacked LoRA apart, each part with the ranks that reach its rows."""
    if len(part.modules) == 1:
        return {part.modules[0]: (down, up)}
    found = {}
    sizes = part.sizes(len(up), down.shape[1])
    for module, rows in zip(part.modules, up.split(sizes), strict=True):
        used = rows.any(0)
        if used.any():
            found[module] = (down[used], rows[:, used])
    return found


def _diffusers(weights: Weights, _: Names) -> dict[str, Tensor]:
    """Write modules as they are named here."""
    tensors = {f"transformer.{module}{A}": down for module, (down, _) in weights.items()}
    return tensors | {f"transformer.{module}{B}": up for module, (_, up) in weights.items()}


def _kohya(weights: Weights, names: Names) -> dict[str, Tensor]:
    """Write the original's matrices."""
    import torch

    try:
        parts = names.group(list(weights))
    except ValueError as error:
        raise ValueError(f"layout=kohya: {error}") from error
    tensors = {}
    for name, part in parts.items():
        stem = "lora_unet_" + name.replace(".", "_")
        down, up = _stack(weights, part)
        tensors |= {stem + DOWN: down, stem + UP: up, stem + ALPHA: torch.tensor(float(len(down)))}
    return tensors


def _stack(weights: Weights, part: Part) -> tuple[Tensor, Tensor]:
    """Stack the LoRAs of a matrix' modules: A below A, B as a block-diagonal matrix."""
    import torch

    if len(part.modules) == 1:
        return weights[part.modules[0]]
    down = torch.cat([weights[module][0] for module in part.modules if module in weights])
    # What is left out counts with no rank, but with its rows.
    blocks = [
        weights[module][1] if module in weights else down.new_zeros(share * down.shape[1], 0)
        for module, share in zip(part.modules, part.rows, strict=True)
    ]
    return down, torch.block_diag(*blocks)


def _published(weights: Weights, names: Names) -> dict[str, Tensor]:
    """Write what the published code reads: attention only, one rank, alpha 1."""
    import torch
    from torch.nn.functional import pad

    if not names.published:
        raise ValueError(f"layout=published: the published code knows FLUX.1, not {names.family}")
    held = re.compile(names.block.pattern + f"({'|'.join(names.published)})")
    others = [module for module in weights if not held.fullmatch(module)]
    if others:
        raise ValueError(
            f"layout=published: attention projections only, not {', '.join(others[:3])}"
        )
    rank = max(len(down) for down, _ in weights.values())
    tensors = {}
    for module, (down, up) in weights.items():
        stem, more = "lora_unet_" + module.replace(".", "_"), rank - len(down)
        tensors[stem + DOWN] = pad(down, (0, 0, 0, more))
        # Differs from our files: that code scales by alpha / rank = 1 / rank whatever a file says.
        tensors[stem + UP] = pad(up, (0, more)) * rank
        tensors[stem + ALPHA] = torch.tensor(1.0)
    return tensors


LAYOUTS = {
    "diffusers": Layout(suffix=".safetensors", write=_diffusers),
    "kohya": Layout(suffix=".safetensors", write=_kohya),
    "published": Layout(suffix=".pt", write=_published),
}

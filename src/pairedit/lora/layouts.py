"""Own the layouts that LoRA files are written in, and how tensors become LoRAs again.

    diffusers   transformer.transformer_blocks.0.attn.to_q.lora_A.weight, .lora_B.weight
    kohya       lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight, .lora_up.weight, .alpha
    published   lora_unet_transformer_blocks_0_attn_to_q.lora_down.weight, .lora_up.weight, .alpha

`kohya` is sd-scripts' and ComfyUI's: the original's names, where q, k and v (and, in a single
block, the MLP) are one matrix. Their LoRAs are stacked into one whose B is block-diagonal, and
taken apart again by the rows of B that are not zero. `published` is what the PairEdit code writes,
alpha 1. Every module has one rank, as old readers need it; ranks that are missing are zeros.
Here a LoRA is {module: (A [rank, in], B [out, rank])}, alpha = rank. It may have biases,
{module: b [out]}, in `.lora_B.bias` or, in kohya, in `.diff_b`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairedit.lora.keys import Bias, Entry
from pairedit.lora.names import Names, Part
from pairedit.lora.scaling import Noted, check_scale

if TYPE_CHECKING:
    from torch import Tensor

    Weights = Mapping[str, tuple[Tensor, Tensor]]
    Biases = Mapping[str, Tensor]

A, B = ".lora_A.weight", ".lora_B.weight"
DOWN, UP, ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"
B_BIAS, BIAS = ".lora_B.bias", ".diff_b"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Hold one way to write a LoRA as the tensors of a file."""

    suffix: str  # of the file
    # Raises ValueError for what it cannot.
    write: Callable[[Weights, Biases, Names], dict[str, Tensor]]


def from_tensors(
    tensors: Mapping[str, Tensor], entries: Iterable[Entry], noted: Noted | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the tensors of a file of any layout.

    Args:
        tensors: by key.
        entries: what `read_keys` makes of the keys.
        noted: alphas that stand elsewhere; they count where a LoRA has none of its own.

    Returns:
        Float32 A and B by module, modules in alphabetical order; any alpha / rank is in B. Ranks
        that were filled up with zeros are gone, and modules of nothing but such.

    Raises:
        ValueError: an alpha that cannot be meant.
    """
    weights: dict[str, tuple[Tensor, Tensor]] = {}
    for entry in entries:
        a, b = tensors[entry.down].float(), tensors[entry.up].float()
        if (scale := _scale(entry, tensors, noted)) is not None:
            b = b * scale
        if entry.part.swapped:
            b = _swapped(b)
        weights |= _split(entry.part, a, b)
    return dict(sorted(weights.items()))


def biases_from(
    tensors: Mapping[str, Tensor], biases: Iterable[Bias], noted: Noted | None = None
) -> dict[str, Tensor]:
    """Read what is added to the outputs of modules at scale 1; see `from_tensors`.

    Returns:
        Float32 [out] by module, modules in alphabetical order; none of nothing but zeros.
    """
    found: dict[str, Tensor] = {}
    for bias in biases:
        values = tensors[bias.key].float()
        if bias.of and (scale := _scale(bias.of, tensors, noted)) is not None:
            values = values * scale
        if bias.part.swapped:
            values = _swapped(values)
        parts = values.split(bias.part.split(len(values)))
        for module, rows in zip(bias.part.modules, parts, strict=True):
            if rows.any():
                found[module] = rows
    return dict(sorted(found.items()))


def _scale(entry: Entry, tensors: Mapping[str, Tensor], noted: Noted | None) -> float | None:
    """Return what B is multiplied by; None where the file says nothing of it."""
    rank = len(tensors[entry.down])
    if entry.alpha is not None:
        return check_scale(float(tensors[entry.alpha]) / rank, entry.alpha)
    return None if noted is None else noted.scale(entry.name, rank)


def to_tensors(
    weights: Weights, layout: str, names: Names, biases: Biases | None = None
) -> dict[str, Tensor]:
    """Write a LoRA as the tensors of a file.

    Args:
        weights: A and B by module.
        layout: one of `LAYOUTS`.
        names: of the modules of the base model.
        biases: by module, where the LoRA has some.

    Raises:
        ValueError: modules that the layout cannot hold.
    """
    tensors = LAYOUTS[layout].write(_one_rank(weights), biases or {}, names)
    return {key: value.contiguous() for key, value in tensors.items()}


def _one_rank(weights: Weights) -> Weights:
    """Fill every module up with zeros to the largest rank.

    diffusers before 0.40 takes the alpha of one module for all of them if their ranks differ.
    """
    from torch.nn.functional import pad

    rank = max(len(down) for down, _ in weights.values())
    return {
        module: (pad(down, (0, 0, 0, rank - len(down))), pad(up, (0, rank - len(down))))
        for module, (down, up) in weights.items()
    }


def _split(part: Part, down: Tensor, up: Tensor) -> Weights:
    """Take a stacked LoRA apart, each part with the ranks that reach its rows."""
    if len(part.modules) == 1:
        used = down.any(1) | up.any(0)
        if not used.all():
            down, up = down[used], up[:, used]
        return {part.modules[0]: (down, up)} if used.any() else {}
    found = {}
    sizes = part.sizes(len(up), down.shape[1])
    for module, rows in zip(part.modules, up.split(sizes), strict=True):
        used = rows.any(0)
        if used.any():
            found[module] = (down[used], rows[:, used])
    return found


def _swapped(up: Tensor) -> Tensor:
    """Let the halves of B's rows change places."""
    import torch

    return torch.cat(up.chunk(2)[::-1])


def _diffusers(weights: Weights, biases: Biases, _: Names) -> dict[str, Tensor]:
    """Write modules as they are named here."""
    tensors = {f"transformer.{module}{A}": down for module, (down, _) in weights.items()}
    tensors |= {f"transformer.{module}{B}": up for module, (_, up) in weights.items()}
    if alone := sorted(biases.keys() - weights.keys()):
        more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        raise ValueError(
            f"layout=diffusers: has no place for a bias without a LoRA, as in {alone[0]}{more}; "
            "expected layout=kohya"
        )
    # peft reads biases of all modules or of none.
    for module, (_, up) in weights.items() if biases else ():
        tensors[f"transformer.{module}{B_BIAS}"] = biases.get(module, up.new_zeros(len(up)))
    return tensors


def _kohya(weights: Weights, biases: Biases, names: Names) -> dict[str, Tensor]:
    """Write the original's matrices."""
    import torch

    try:
        parts = names.group(list(weights))
        added = names.group(list(biases))
    except ValueError as error:
        raise ValueError(f"layout=kohya: {error}") from error
    tensors = {}
    for name, part in parts.items():
        stem = "lora_unet_" + name.replace(".", "_")
        down, up = _stack(weights, part)
        tensors |= {stem + DOWN: down, stem + UP: up, stem + ALPHA: torch.tensor(float(len(down)))}
    for name, part in added.items():
        tensors["lora_unet_" + name.replace(".", "_") + BIAS] = _joined(biases, part)
    return tensors


def _joined(biases: Biases, part: Part) -> Tensor:
    """Put the biases of a matrix' modules one behind the other; zeros where there is none."""
    import torch

    if len(part.modules) == 1:
        bias = biases[part.modules[0]]
        return _swapped(bias) if part.swapped else bias
    rows = dict(zip(part.modules, part.rows, strict=True))
    width, blank = next((len(b) // rows[m], b) for m, b in biases.items() if m in rows)
    return torch.cat([biases.get(m, blank.new_zeros(share * width)) for m, share in rows.items()])


def _stack(weights: Weights, part: Part) -> tuple[Tensor, Tensor]:
    """Stack the LoRAs of a matrix' modules: A below A, B as a block-diagonal matrix."""
    import torch

    if len(part.modules) == 1:
        down, up = weights[part.modules[0]]
        return down, _swapped(up) if part.swapped else up
    held = next(weights[module][0] for module in part.modules if module in weights)
    rank, width = held.shape
    # What is left out counts with zeros of the same rank: diffusers cuts the ranks into equal
    # parts, one for each module, if it can.
    pairs = [
        weights.get(module, (held.new_zeros(rank, width), held.new_zeros(share * width, rank)))
        for module, share in zip(part.modules, part.rows, strict=True)
    ]
    return torch.cat([down for down, _ in pairs]), torch.block_diag(*(up for _, up in pairs))


def _published(weights: Weights, biases: Biases, names: Names) -> dict[str, Tensor]:
    """Write what the published code reads: attention only, one rank, alpha 1."""
    import torch

    if not names.published:
        raise ValueError(f"layout=published: the published code knows FLUX.1, not {names.family}")
    held = re.compile(names.block.pattern + f"({'|'.join(names.published)})")
    others = [module for module in weights if not held.fullmatch(module)]
    if others:
        raise ValueError(
            f"layout=published: attention projections only, not {', '.join(others[:3])}"
        )
    if biases:
        raise ValueError("layout=published: the published code reads no biases; expected kohya")
    tensors = {}
    for module, (down, up) in weights.items():
        stem = "lora_unet_" + module.replace(".", "_")
        tensors[stem + DOWN] = down
        # Differs from our files: that code scales by alpha / rank = 1 / rank whatever a file says.
        tensors[stem + UP] = up * len(down)
        tensors[stem + ALPHA] = torch.tensor(1.0)
    return tensors


LAYOUTS = {
    "diffusers": Layout(suffix=".safetensors", write=_diffusers),
    "kohya": Layout(suffix=".safetensors", write=_kohya),
    "published": Layout(suffix=".pt", write=_published),
}

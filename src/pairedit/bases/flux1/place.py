"""Own how the transformer lies on the accelerator: quantised, fused, compiled.

    modulations   linear(silu(embedding)) of every norm, for each (noise level, prompt) of a job,
                  are a table; a quarter of FLUX.1-dev's weights then stays off the accelerator
    projections   q, k and v of one stream are one matrix product; see `heads`
    MLPs          see `mlps`
    quantised     the linear layers of the blocks

Shape letters: B rows, K modulations, N tokens, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairedit.bases.flux1.heads import FusedAttention
from pairedit.bases.flux1.mlps import fuse_mlps
from pairedit.bases.flux1.modulations import Modulations, blocks_of
from pairedit.machine.attention import Attend, choose_attention
from pairedit.machine.blocks import again_of, bring_block, compile_blocks, quantise_linears
from pairedit.machine.hardware import Hardware
from pairedit.machine.quantised import Quantise, name_parts, quantiser
from pairedit.machine.swapping import swapping


def place(transformer: nn.Module, hardware: Hardware, device: torch.device) -> Modulations | None:
    """Move a diffusers FLUX transformer to the device, block by block, as the hardware asks.

    Returns:
        What computes the modulations of a job, which must be called before the first pass; None
        where the transformer computes them itself.

    Raises:
        ValueError: a library is missing.
    """
    quantise = quantiser(hardware.precision)
    modulations = Modulations(transformer, device) if hardware.fused else None
    attend = choose_attention(device, transformer.dtype)
    blocks = list(blocks_of(transformer))
    swaps = swapping(blocks, hardware.swapped, device)
    for block in blocks:
        bring_block(block, device)
        if hardware.fused:
            # 4-bit weights do not stand side by side.
            _fuse(block.attn, attend, quantise, wanted=hardware.precision != "nf4")
            fuse_mlps(block)
        quantise_linears(block, quantise)
        swaps(block, *_joint(block.attn))
    if hardware.fused:
        blocks[-1].last = True
    transformer.to(device)
    if hardware.compile:
        compile_blocks(blocks, dynamic=hardware.dynamic)
    return modulations


@contextmanager
def training_blocks(transformer: nn.Module, hardware: Hardware) -> Iterator[None]:
    """Let the blocks run for training, inside the block.

    Args:
        transformer: placed.
        hardware: that it was placed for; says how many of the blocks, the first ones, run again
            in the backward pass.
    """
    blocks = list(blocks_of(transformer))
    again = again_of(blocks, hardware.gradient_checkpointing)
    first = blocks[0] if hardware.compile else None

    def run(block: nn.Module, image: Tensor, text: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
        if block is first:
            image, text = _like_later_ones(image, text)
        if block in again:
            return checkpoint(block, image, text, *more, use_reentrant=False)
        return block(image, text, *more)

    if first is not None or again:
        transformer.enable_gradient_checkpointing(run)
    try:
        yield
    finally:
        transformer.disable_gradient_checkpointing()


def _like_later_ones(image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """Give the inputs of the first block a gradient, as later ones have: one compilation serves."""
    if not image.requires_grad:
        image, text = (part.detach().requires_grad_(True) for part in (image, text))
    return image, text


def _fuse(attn: nn.Module, attend: Attend, quantise: Quantise | None, *, wanted: bool) -> None:
    """Lay the projections of each stream side by side and let one product make them."""
    streams: list[nn.Linear | None] = []
    for names in (("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")):
        layers = [getattr(attn, name, None) for name in names]
        streams.append(_side_by_side(layers) if wanted and all(layers) else None)
        if streams[-1] is not None and quantise:
            quantise(streams[-1])
            name_parts(layers, streams[-1])
    processor = FusedAttention(*streams, attend)
    processor.settle(attn)
    attn.set_processor(processor)


def _joint(attn: nn.Module) -> list[nn.Linear]:
    """List the joint projections of an attention layer, which are no children of it."""
    fused = attn.processor
    layers = (fused.image, fused.text) if isinstance(fused, FusedAttention) else ()
    return [layer for layer in layers if layer is not None]


def _side_by_side(layers: Sequence[nn.Linear]) -> nn.Linear:
    """Return one layer whose weights those of the others become views of."""
    first = layers[0]
    fused = nn.Linear(first.in_features, 3 * first.out_features, device="meta")
    for name in ("weight", "bias"):
        joint = torch.cat([getattr(layer, name).data for layer in layers])
        setattr(fused, name, nn.Parameter(joint, requires_grad=False))
        for layer, part in zip(layers, joint.chunk(3), strict=True):
            getattr(layer, name).data = part
    return fused

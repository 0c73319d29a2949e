"""Own how the transformer lies on the accelerator: quantised, fused, compiled.

    modulations   linear(silu(embedding)) of every norm, for each (noise level, prompt) of a job,
                  are a table; a quarter of FLUX.1-dev's weights then stays off the accelerator
    projections   q, k and v of one stream are one matrix product; see `heads`
    MLPs          see `feedforward`
    quantised     the linear layers of the blocks

Shape letters: B rows, K modulations, N tokens, D features.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairedit.attention import Attend, choose_attention
from pairedit.devices import bring
from pairedit.feedforward import fuse_mlps
from pairedit.hardware import Hardware
from pairedit.heads import FusedAttention
from pairedit.quantised import Quantise, name_parts, quantiser

BLOCKS = ("transformer_blocks", "single_transformer_blocks")
NORMS = ("norm1", "norm1_context", "norm")


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
    for block in _blocks(transformer):
        for weight in (*block.parameters(), *block.buffers()):
            weight.data = bring(weight.data, device)
        if hardware.fused:
            # 4-bit weights do not stand side by side.
            _fuse(block.attn, attend, quantise, wanted=hardware.precision != "nf4")
            fuse_mlps(block)
        if quantise:
            for layer in block.modules():
                if type(layer) is nn.Linear:
                    quantise(layer)
    transformer.to(device)
    if hardware.compile:
        # Warns of operations in place in what is checkpointed; there are none.
        logging.getLogger("torch._higher_order_ops.wrap").setLevel(logging.ERROR)
        gc.freeze()  # what is there by now need not be looked through while compiling
        torch._dynamo.config.recompile_limit = 64  # LoRAs and batch sizes of one process
        for block in _blocks(transformer):  # those of a kind share what is compiled
            block.compile(fullgraph=True, dynamic=False)
    return modulations


def start_compiler() -> None:
    """Start the processes that will compile, so that they are there when weights have loaded."""
    from torch._inductor.async_compile import AsyncCompile

    AsyncCompile.warm_pool()


@contextmanager
def training_blocks(transformer: nn.Module, hardware: Hardware, share: float) -> Iterator[None]:
    """Let the blocks run for training, inside the block.

    Args:
        transformer: placed.
        hardware: that it was placed for.
        share: of the blocks that run again in the backward pass, the first ones.
    """
    blocks = list(_blocks(transformer))
    again = {id(block) for block in blocks[: round(share * len(blocks))]}
    firsts = [getattr(transformer, kind)[0] for kind in BLOCKS] if hardware.compile else []

    def run(block: nn.Module, image: Tensor, text: Tensor, *more: Any) -> tuple[Tensor, Tensor]:
        if any(block is first for first in firsts):
            image, text = _like_later_ones(image, text, joint=block is firsts[1])
        if id(block) in again:
            return checkpoint(block, image, text, *more, use_reentrant=False)
        return block(image, text, *more)

    if firsts or again:
        transformer.enable_gradient_checkpointing(run)
    try:
        yield
    finally:
        transformer.disable_gradient_checkpointing()


def _like_later_ones(image: Tensor, text: Tensor, *, joint: bool) -> tuple[Tensor, Tensor]:
    """Make the inputs of a first block like those of later ones: compiled code serves all then.

    They have a gradient, and those of single blocks are parts of one tensor.
    """
    if joint:
        length = text.shape[1]
        both = torch.cat([text, image], dim=1)
        image, text = both[:, length:], both[:, :length]
    if not image.requires_grad:
        image, text = (part.detach().requires_grad_(True) for part in (image, text))
    return image, text


class Modulations:
    """Compute the modulations of a job ahead, and give each pass its rows."""

    def __init__(self, transformer: nn.Module, device: torch.device) -> None:
        """Take the modulating layers out of a transformer that is still on the CPU."""
        self._device = device
        self._embed = transformer.time_text_embed
        self._layers: list[tuple[_Table, nn.Linear]] = []
        self._clock = _Clock()
        transformer.time_text_embed = self._clock
        for block in _blocks(transformer):
            for name in NORMS:
                if norm := getattr(block, name, None):
                    norm.silu = nn.Identity()
                    norm.linear = self._table(norm.linear)
        transformer.norm_out = _LastNorm(
            transformer.norm_out.norm, self._table(transformer.norm_out.linear)
        )

    def _table(self, layer: nn.Linear) -> _Table:
        table = _Table()
        self._layers.append((table, layer))
        return table

    @torch.no_grad()
    def compute(self, clocks: Tensor, guidance: Tensor | None, pooled: Tensor) -> None:
        """Fill the tables for K (noise level, guidance, prompt); see the transformer's forward."""
        scaled = [clocks.to(pooled.dtype) * 1000]
        if guidance is not None:
            scaled.append(guidance.to(pooled.dtype) * 1000)
        embedded = F.silu(self._embed.to(self._device)(*scaled, pooled))
        self._embed.to("cpu")
        for table, layer in self._layers:
            # Streamed through the accelerator, never all of them there.
            weight, bias = (bring(part, self._device) for part in (layer.weight, layer.bias))
            table.fill(F.linear(embedded, weight, bias))

    def select(self, index: Tensor) -> None:
        """Choose the modulation of each row of the coming pass, int64 [B] on the device."""
        self._clock.index = index


class _Clock(nn.Module):
    """Stand for the embedding of noise level, guidance and prompt: the number of its modulation."""

    index: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return int64 [B]."""
        return self.index


class _Table(nn.Module):
    """Stand for one modulating layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.empty(0), persistent=False)

    def fill(self, values: Tensor) -> None:
        """Keep [K, features]; in place where they fit, as a CUDA graph remembers addresses."""
        if self.values.shape == values.shape:
            self.values.copy_(values)
        else:
            self.values = values

    def forward(self, index: Tensor) -> Tensor:
        """Return [B, features]."""
        return self.values[index]


class _LastNorm(nn.Module):
    """Stand for diffusers' AdaLayerNormContinuous, which would round the index."""

    def __init__(self, norm: nn.Module, table: _Table) -> None:
        super().__init__()
        self.norm, self.table = norm, table

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Modulate [B, N, D]."""
        scale, shift = self.table(index).chunk(2, dim=1)
        return self.norm(x) * (1 + scale)[:, None] + shift[:, None]


def _blocks(transformer: nn.Module) -> Iterator[nn.Module]:
    """Walk over the blocks, in the order they run in."""
    for kind in BLOCKS:
        yield from getattr(transformer, kind)


def _fuse(attn: nn.Module, attend: Attend, quantise: Quantise | None, *, wanted: bool) -> None:
    """Lay the projections of each stream side by side and let one product make them."""
    streams: list[nn.Linear | None] = []
    for names in (("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")):
        layers = [getattr(attn, name, None) for name in names]
        streams.append(_side_by_side(layers) if wanted and all(layers) else None)
        if streams[-1] is not None and quantise:
            quantise(streams[-1])
            name_parts(layers, streams[-1])
    attn.set_processor(FusedAttention(*streams, attend))


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

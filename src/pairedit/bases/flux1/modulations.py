"""Own the modulations of a job, computed ahead: a table in the place of every modulating layer.

    linear(silu(embedding)) of every norm, for each (noise level, prompt) of a job; a quarter of
    FLUX.1-dev's weights then stays off the accelerator

Shape letters: B rows, K modulations, N tokens, D features.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairedit.machine.devices import bring

BLOCKS = ("transformer_blocks", "single_transformer_blocks")
NORMS = ("norm1", "norm1_context", "norm")


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

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

from pairedit.bases.clock import clock_of
from pairedit.bases.flux1.passes import Text
from pairedit.machine.devices import bring
from pairedit.machine.tabled import Inputs, Tabled

BLOCKS = ("transformer_blocks", "single_transformer_blocks")
NORMS = ("norm1", "norm1_context", "norm")
PREPARED = 16  # prompts whose modulations fit side by side: 60 MB each on FLUX.1-dev


class Modulations:
    """Compute the modulations of a job ahead, and give each pass its rows."""

    def __init__(self, transformer: nn.Module, device: torch.device) -> None:
        """Take the modulating layers out of a transformer that is still on the CPU."""
        self.computed = 0  # how often; what was captured before is of other tables
        self._device = device
        self._dtype = transformer.dtype
        self._embed = transformer.time_text_embed
        self._layers: list[tuple[Tabled, nn.Linear]] = []
        self._inputs = Inputs()
        self._clock = _Clock()
        self._sigmas = torch.empty(0)
        # (sigma, prompt, guidance): number of its modulation
        self._known: dict[tuple[float, str, float | None], int] = {}
        transformer.time_text_embed = self._clock
        for block in blocks_of(transformer):
            for name in NORMS:
                if norm := getattr(block, name, None):
                    norm.silu = nn.Identity()
                    norm.linear = self._table(norm.linear)
        transformer.norm_out = _LastNorm(
            transformer.norm_out.norm, self._table(transformer.norm_out.linear)
        )

    def _table(self, layer: nn.Linear) -> Tabled:
        table = Tabled(layer, self._inputs, self._device)
        self._layers.append((table, layer))
        return table

    def prepare(self, sigmas: Tensor, text: Text, guidance_scale: float | None) -> None:
        """Compute what is not known yet of some noise levels and prompts; others are forgotten.

        Args:
            sigmas: float32 [steps + 1], falling to 0.
            text: the prompts.
            guidance_scale: the guidance embedding; None for a model without one.
        """
        self._sigmas = sigmas
        wanted = [
            (sigma, prompt, guidance_scale)
            for sigma in sigmas[:-1].tolist()
            for prompt in dict.fromkeys(text.prompts)
        ]
        if all(key in self._known for key in wanted):
            return
        pooled = text.of([prompt for _, prompt, _ in wanted]).pooled
        guidance = None
        if guidance_scale is not None:
            guidance = torch.full((len(wanted),), guidance_scale, device=self._device)
        levels = torch.tensor([sigma for sigma, _, _ in wanted])
        self._compute(clock_of(levels, self._device, self._dtype), guidance, pooled)
        self._known = {key: number for number, key in enumerate(wanted)}
        self.computed += 1

    def numbers(self, sigmas: Tensor, text: Text, guidance_scale: float | None) -> Tensor:
        """Return the number of each row's modulation, int64 [B] on the device.

        Args:
            sigmas: of each row, among those of `prepare`.
            text: of each row; prompts that are not known yet are prepared.
            guidance_scale: see `prepare`.
        """
        keys = [
            (sigma, prompt, guidance_scale)
            for sigma, prompt in zip(sigmas.tolist(), text.prompts, strict=True)
        ]
        if not all(key in self._known for key in keys):
            self.prepare(self._sigmas, text, guidance_scale)
        return torch.tensor([self._known[key] for key in keys]).to(self._device, non_blocking=True)

    @torch.no_grad()
    def _compute(self, clocks: Tensor, guidance: Tensor | None, pooled: Tensor) -> None:
        """Fill the tables for K (noise level, guidance, prompt); see the transformer's forward."""
        scaled = [clocks.to(pooled.dtype) * 1000]
        if guidance is not None:
            scaled.append(guidance.to(pooled.dtype) * 1000)
        embedded = F.silu(self._embed.to(self._device)(*scaled, pooled))
        self._embed.to("cpu")
        self._inputs.fill(embedded)
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


class _LastNorm(nn.Module):
    """Stand for diffusers' AdaLayerNormContinuous, which would round the index."""

    def __init__(self, norm: nn.Module, linear: Tabled) -> None:
        super().__init__()
        self.norm, self.linear = norm, linear

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Modulate [B, N, D]."""
        scale, shift = self.linear(index).chunk(2, dim=1)
        return self.norm(x) * (1 + scale)[:, None] + shift[:, None]


def blocks_of(transformer: nn.Module) -> Iterator[nn.Module]:
    """Walk over the blocks, in the order they run in."""
    for kind in BLOCKS:
        yield from getattr(transformer, kind)

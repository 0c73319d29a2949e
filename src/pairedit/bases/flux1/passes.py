"""Own one pass of FLUX.1's transformer: its prompts, its clock, plain or on tabled modulations.

Shape letters: B rows, C latent channels, h and w latent height and width, L text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pairedit.machine.devices import picked

if TYPE_CHECKING:
    from pairedit.bases.flux1.flux import Flux


@dataclass(frozen=True, kw_only=True)
class Text:
    """Hold encoded prompts."""

    prompts: tuple[str, ...]  # B
    tokens: Tensor  # T5, [B, L, joint dimension]
    pooled: Tensor  # CLIP, [B, pooled dimension]

    def rows(self, index: Sequence[int]) -> Text:
        """Pick prompts by index, with repetition."""
        rows = list(index)
        return Text(
            prompts=tuple(self.prompts[i] for i in rows),
            tokens=picked(self.tokens, rows),
            pooled=picked(self.pooled, rows),
        )

    def of(self, prompts: Sequence[str]) -> Text:
        """Pick prompts by their words, with repetition."""
        return self.rows([self.prompts.index(prompt) for prompt in prompts])


@dataclass(frozen=True, kw_only=True)
class PlainPass:
    """Run the transformer as diffusers does."""

    flux: Flux
    clock: Tensor  # of each row
    text: Text
    guidance: Tensor | None
    key: None = None
    inputs: tuple[Tensor, ...] = ()

    def __call__(self, latents: Tensor) -> Tensor:
        """Return d latents / d sigma, float32 [B, C, h, w]."""
        text = self.text
        return self.flux.run(latents, text.tokens, text.pooled, self.clock, self.guidance)


@dataclass(frozen=True, kw_only=True)
class TabledPass:
    """Run the transformer on modulations that were computed ahead."""

    flux: Flux
    key: int
    inputs: tuple[Tensor, ...]  # the prompts' tokens, and the number of each row's modulation

    def __call__(self, latents: Tensor, tokens: Tensor, numbers: Tensor) -> Tensor:
        """Return d latents / d sigma, float32 [B, C, h, w]; all on the device."""
        self.flux.modulations.select(numbers)
        return self.flux.run(latents, tokens, None, numbers, None)

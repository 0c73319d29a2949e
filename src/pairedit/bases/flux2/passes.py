"""Own one pass of FLUX.2's transformer: its prompts and its clock.

Shape letters: B rows, C latent channels, h and w latent height and width, L text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pairedit.machine.devices import picked

if TYPE_CHECKING:
    from pairedit.bases.flux2.flux import Flux2Base


@dataclass(frozen=True, kw_only=True)
class Text:
    """Hold encoded prompts, each filled up to the same length."""

    prompts: tuple[str, ...]  # B
    tokens: Tensor  # [B, L, joint dimension]

    def of(self, prompts: Sequence[str]) -> Text:
        """Pick prompts by their words, with repetition."""
        rows = [self.prompts.index(prompt) for prompt in prompts]
        return Text(prompts=tuple(prompts), tokens=picked(self.tokens, rows))


@dataclass(frozen=True, kw_only=True)
class PlainPass:
    """Run the transformer as diffusers does."""

    base: Flux2Base
    inputs: tuple[Tensor, ...]  # the prompts' tokens, and the clock of each row
    key: None = None

    def __call__(self, latents: Tensor, tokens: Tensor, clock: Tensor) -> Tensor:
        """Return d latents / d sigma, float32 [B, C, h, w]."""
        return self.base.run(latents, tokens, clock)

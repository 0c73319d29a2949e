"""Own one pass of Z-Image's transformer: prompts of unlike lengths, and its own clock and sign.

    v = d x / d sigma = -transformer(x, 1 - sigma)

Its clock runs from noise to image, and so does what it predicts.
Shape letters: B rows, C latent channels, h and w latent height and width, L tokens of one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pairedit.machine.devices import bring

T_MAX = 1000  # diffusers counts noise levels in thousandths


@dataclass(frozen=True, kw_only=True)
class Text:
    """Hold encoded prompts."""

    prompts: tuple[str, ...]  # B
    tokens: tuple[Tensor, ...]  # B times [L, features]; the padding is left out

    def of(self, prompts: Sequence[str]) -> Text:
        """Pick prompts by their words, with repetition."""
        known = dict(zip(self.prompts, self.tokens, strict=True))
        return Text(prompts=tuple(prompts), tokens=tuple(known[prompt] for prompt in prompts))


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Run the transformer as diffusers does."""

    transformer: nn.Module
    inputs: tuple[Tensor, ...]  # the clock of each row, float32 [B], and B times a prompt's tokens
    key: None = None

    def __call__(self, latents: Tensor, clock: Tensor, *tokens: Tensor) -> Tensor:
        """Return d latents / d sigma, float32 [B, C, h, w]."""
        images = latents.to(clock.device, self.transformer.dtype).unsqueeze(2)  # one frame
        found = self.transformer(list(images), clock, list(tokens), return_dict=False)[0]
        return -torch.stack(found).float().squeeze(2)


def clock_of(sigmas: Tensor, device: torch.device) -> Tensor:
    """Turn noise levels into the transformer's clock, rounded as by diffusers."""
    return bring((T_MAX - sigmas * T_MAX) / T_MAX, device)

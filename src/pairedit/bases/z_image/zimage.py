"""Own Z-Image in its parts: encode, decode, prompts, and the velocity. See `bases.base.Base`.

The noise levels do not depend on the size of the image, as long as its scheduler says so:

    sigma(t) = shift t / (1 + (shift - 1) t),  t = 1, 1 - 1/n, ..., 1/n

Latents are normalised: (z - shift_factor) * scaling_factor. Images are in [-1, 1].
Shape letters: B rows, C latent channels, h and w latent height and width, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.pipelines.z_image.pipeline_z_image import (
    calculate_shift,
    get_default_z_image_sigmas,
    retrieve_timesteps,
)
from torch import Tensor, nn

from pairedit.bases.guidance import BEYOND
from pairedit.bases.plain import PlainBase
from pairedit.bases.z_image.attention import fuse
from pairedit.bases.z_image.names import NAMES
from pairedit.bases.z_image.passes import Pass, Text, clock_of
from pairedit.data.shapes import in_units
from pairedit.machine.attention import Attend
from pairedit.settings import Size

PATCH = 2  # latent pixels a side of one token


class ZImageBase(PlainBase):
    """Run one Z-Image in its parts. The transformer stays on the accelerator."""

    names = NAMES
    guidance = BEYOND
    kept = 256  # 2.6 MB each at most

    def latent_shape(self, size: Size) -> tuple[int, int, int]:
        """Return (C, h, w) of an image.

        Raises:
            ValueError: a side that does not divide into tokens.
        """
        h, w = in_units(size, self.pipeline.vae_scale_factor * PATCH)
        return self.transformer.in_channels, PATCH * h, PATCH * w

    def sigmas(self, size: Size, steps: int) -> Tensor:
        """Return the noise levels of a run, float32 [steps + 1] on the CPU, from 1 to 0."""
        _, h, w = self.latent_shape(size)
        scheduler = self.pipeline.scheduler
        # Counts where somebody's scheduler shifts by the size.
        mu = calculate_shift(h // PATCH * (w // PATCH), *_shifts(scheduler.config))
        retrieve_timesteps(scheduler, steps, "cpu", sigmas=get_default_z_image_sigmas(steps), mu=mu)
        return scheduler.sigmas

    def encode_prompt(self, prompt: str, device: torch.device) -> Tensor:
        """Return the features of one prompt; see `PlainBase`."""
        (tokens,), _ = self.pipeline.encode_prompt(
            prompt,
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )
        return tokens

    def text(self, prompts: Sequence[str]) -> Text:
        """Encode prompts, each of its own length; see `Base.text`."""
        placed = {
            prompt: tokens.to(self.device) for prompt, tokens in self.encoded(prompts).items()
        }
        return Text(prompts=tuple(prompts), tokens=tuple(placed[prompt] for prompt in prompts))

    def fuse(self, block: nn.Module, attend: Attend) -> None:
        """Let a block run faster; see `PlainBase.fuse`."""
        fuse(block, attend)

    def at(self, sigma: Tensor, text: Text, guidance_scale: float | None) -> Pass:
        """Give the pass at a noise level; see `Base.at`."""
        self.place()
        clock = clock_of(sigma.expand(len(text.prompts)), self.device)
        return Pass(transformer=self.transformer, inputs=(clock, *text.tokens))


def _shifts(config: Mapping[str, Any]) -> list[float]:
    """Read the numbers of a shift by size from a scheduler, as ZImagePipeline does."""
    usual = {
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
        "base_shift": 0.5,
        "max_shift": 1.15,
    }
    return [config.get(key, value) for key, value in usual.items()]

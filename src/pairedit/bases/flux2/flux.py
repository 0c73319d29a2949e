"""Own FLUX.2 klein in its parts: encode, decode, prompts, and the velocity. See `bases.base.Base`.

Trainer and sampler share one velocity and one sigma grid, so they cannot drift apart:

    sigma(t) = e^mu / (e^mu + 1/t - 1),  t = 1, 1 - 1/n, ..., 1/n,  mu by image tokens and by n

Latents are normalised by the statistics of a batch norm: (z - mean) / sqrt(var + eps).
Shape letters: B rows, C latent channels, h and w latent height and width, L text tokens,
H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu, retrieve_timesteps
from torch import Tensor, nn

from pairedit.bases.base import Posterior
from pairedit.bases.clock import clock_of
from pairedit.bases.flux2.attention import fuse
from pairedit.bases.flux2.latents import PATCH, image_ids, patchify, text_ids, unpatchify
from pairedit.bases.flux2.names import NAMES
from pairedit.bases.flux2.passes import PlainPass, Text
from pairedit.bases.guidance import FROM_NEGATIVE
from pairedit.bases.plain import PlainBase
from pairedit.data.shapes import in_units
from pairedit.machine.attention import Attend
from pairedit.machine.lending import lend
from pairedit.settings import Size

READ = (9, 18, 27)  # layers of the text encoder whose outputs are a prompt's features


class Flux2Base(PlainBase):
    """Run one FLUX.2 klein in its parts. The transformer stays on the accelerator."""

    names = NAMES
    guidance = FROM_NEGATIVE
    kept = 64  # 8 MB each at full size

    def __init__(self, *args: Any, **more: Any) -> None:
        """Take a loaded pipeline over; see `PlainBase`."""
        super().__init__(*args, **more)
        self._positions: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def latent_shape(self, size: Size) -> tuple[int, int, int]:
        """Return (C, h, w) of an image; see `Base.latent_shape`."""
        h, w = in_units(size, self.pipeline.vae_scale_factor * PATCH)
        return self.transformer.config.in_channels, h, w

    def sigmas(self, size: Size, steps: int) -> Tensor:
        """Return the noise levels of a run; larger images and fewer steps get more noise.

        Source: Flux2KleinPipeline.__call__, part 6.
        """
        _, h, w = self.latent_shape(size)
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        mu = compute_empirical_mu(image_seq_len=h * w, num_steps=steps)
        levels = np.linspace(1.0, 1 / steps, steps)
        retrieve_timesteps(scheduler, steps, "cpu", sigmas=levels, mu=mu)
        return scheduler.sigmas

    def encode_prompt(self, prompt: str, device: torch.device) -> Tensor:
        """Return the features of one prompt; see `PlainBase`."""
        tokens, _ = self.pipeline.encode_prompt(
            prompt, device=device, max_sequence_length=self.max_sequence_length
        )
        return tokens[0]

    def text(self, prompts: Sequence[str]) -> Text:
        """Encode prompts, all of one length; see `Base.text`."""
        known = self.encoded(prompts)
        tokens = torch.stack([known[prompt] for prompt in prompts]).to(self.device)
        return Text(prompts=tuple(prompts), tokens=tokens)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Posterior:
        """Encode images to normalised latents, on the transformer's device."""
        vae = self.pipeline.vae
        with lend([vae], self.device, clear=not self._placed) as device:
            posterior = vae.encode(images.to(device, vae.dtype)).latent_dist
            mean, std = (patchify(part.float()) for part in (posterior.mean, posterior.std))
            shift, scale = self._statistics(device)
        return Posterior(
            mean=((mean - shift) / scale).to(self.device), std=(std / scale).to(self.device)
        )

    def unscaled(self, latents: Tensor) -> Tensor:
        """Return what the VAE decodes; see `PlainBase.unscaled`."""
        shift, scale = self._statistics(latents.device)
        return unpatchify(latents * scale + shift)

    def fuse(self, block: nn.Module, attend: Attend) -> None:
        """Let a block run faster; see `PlainBase.fuse`."""
        fuse(block, attend)

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the VAE's latents, float32 [1, C, 1, 1]."""
        vae = self.pipeline.vae
        mean, variance = (
            part.detach().to(device, torch.float32)[None, :, None, None]
            for part in (vae.bn.running_mean, vae.bn.running_var)
        )
        return mean, torch.sqrt(variance + vae.config.batch_norm_eps)

    def at(self, sigma: Tensor, text: Text, guidance_scale: float | None) -> PlainPass:
        """Give the pass at a noise level; see `Base.at`."""
        self.place()
        clock = clock_of(sigma.expand(len(text.prompts)), self.device, self.dtype)
        return PlainPass(base=self, inputs=(text.tokens, clock))

    def run(self, latents: Tensor, tokens: Tensor, clock: Tensor) -> Tensor:
        """Run the transformer on latents: each of their pixels is a token."""
        h, w = latents.shape[-2:]
        key = (h, w, tokens.shape[1])
        if key not in self._positions:
            ids = image_ids(h, w), text_ids(tokens.shape[1])
            self._positions[key] = tuple(part.to(self.device) for part in ids)
        img_ids, txt_ids = self._positions[key]
        output = self.transformer(
            hidden_states=latents.flatten(2).mT.to(self.device, self.dtype),
            encoder_hidden_states=tokens,
            timestep=clock,
            guidance=None,
            img_ids=img_ids,
            txt_ids=txt_ids,
            return_dict=False,
        )[0]
        return output.mT.unflatten(2, (h, w)).float()

"""Own FLUX.1 in its parts: encode, decode, prompts, and the velocity. See `bases.base.Base`.

Trainer and sampler share one velocity and one sigma grid, so they cannot drift apart:

    sigma(t) = e^mu / (e^mu + 1/t - 1),  t = 1, 1 - 1/n, ..., 1/n,  mu linear in image tokens

Latents are normalised: (z - shift) * scale. Images are in [-1, 1].
Shape letters: B rows, C latent channels, h and w latent height and width, N image tokens,
L text tokens, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps
from torch import Tensor

from pairedit.bases.clock import clock_of
from pairedit.bases.flux1.latents import PATCH, image_ids, pack, unpack
from pairedit.bases.flux1.modulations import PREPARED, Modulations
from pairedit.bases.flux1.names import NAMES
from pairedit.bases.flux1.passes import PlainPass, TabledPass, Text
from pairedit.bases.flux1.place import place, training_blocks
from pairedit.bases.guidance import EMBEDDED
from pairedit.bases.plain import PlainBase
from pairedit.data.shapes import in_units
from pairedit.machine.graphs import Graphs
from pairedit.machine.lending import lend
from pairedit.settings import Size


class Flux(PlainBase):
    """Run one FLUX.1 in its parts. The transformer stays on the accelerator."""

    names = NAMES
    guidance = EMBEDDED

    def __init__(self, *args: Any, **more: Any) -> None:
        """Take a loaded pipeline over; see `PlainBase`."""
        super().__init__(*args, **more)
        self.modulations: Modulations | None = None
        self._positions: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    @property
    def guided(self) -> bool:
        """Say whether the model takes a guidance scale as an input."""
        return bool(self.transformer.config.guidance_embeds)

    def latent_shape(self, size: Size) -> tuple[int, int, int]:
        """Return (C, h, w) of an image; see `Base.latent_shape`."""
        h, w = in_units(size, self.pipeline.vae_scale_factor * PATCH)
        return self.transformer.config.in_channels // PATCH**2, PATCH * h, PATCH * w

    def sigmas(self, size: Size, steps: int) -> Tensor:
        """Return the noise levels of a run; larger images get more noise.

        Source: FluxPipeline.__call__, part 5.
        """
        _, h, w = self.latent_shape(size)
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        config = scheduler.config
        mu = calculate_shift(
            h * w // PATCH**2,
            config.get("base_image_seq_len", 256),
            config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5),
            config.get("max_shift", 1.15),
        )
        retrieve_timesteps(
            scheduler, steps, "cpu", sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu
        )
        return scheduler.sigmas

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Text:
        """Encode prompts with both text encoders, in the transformer's precision."""
        encoders = (self.pipeline.text_encoder, self.pipeline.text_encoder_2)
        with lend(encoders, self.device, clear=not self._placed) as device:
            known = {
                prompt: self.pipeline.encode_prompt(
                    prompt, device=device, max_sequence_length=self.max_sequence_length
                )
                for prompt in dict.fromkeys(prompts)
            }
        tokens, pooled = (
            torch.cat([known[prompt][part] for prompt in prompts]).to(self.device, self.dtype)
            for part in (0, 1)
        )
        return Text(prompts=tuple(prompts), tokens=tokens, pooled=pooled)

    def prepare(self, sigmas: Tensor, text: Text, guidance_scale: float | None) -> None:
        """Move the transformer to its device, and compute modulations of the first prompts.

        Raises:
            ValueError: a library for the precision asked for is missing.
        """
        self.place()
        if self.modulations is not None:
            prompts = list(dict.fromkeys(text.prompts))
            self.modulations.prepare(sigmas, text.of(prompts[:PREPARED]), guidance_scale)

    def place(self) -> None:
        """Move the transformer to its device, unless it is there."""
        if not self._placed:
            self.modulations = place(self.transformer, self.hardware, self.device)
            self._placed = True
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # of what was needed on the way

    def rows(self, count: int) -> int:
        """Round up to a power of two if blocks are compiled: each number is compiled apart."""
        return 2 ** (count - 1).bit_length() if self.hardware.fused else count

    def at(self, sigma: Tensor, text: Text, guidance_scale: float | None) -> PlainPass | TabledPass:
        """Give the pass at a noise level; see `Base.at`."""
        if self.guided != (guidance_scale is not None):
            expected = "a number, this model embeds it" if self.guided else "null, it has no effect"
            raise ValueError(f"guidance_scale={guidance_scale}: expected {expected}")
        self.place()
        rows = len(text.prompts)
        if self.modulations is not None:
            numbers = self.modulations.numbers(sigma.expand(rows), text, guidance_scale)
            key = self.modulations.computed
            return TabledPass(flux=self, key=key, inputs=(text.tokens, numbers))
        guidance = None
        if guidance_scale is not None:
            guidance = torch.full((rows,), guidance_scale, device=self.device)
        clock = clock_of(sigma.expand(rows), self.device, self.dtype)
        return PlainPass(flux=self, clock=clock, text=text, guidance=guidance)

    @contextmanager
    def training(self) -> Iterator[Graphs]:
        """Let the blocks run for training inside; a step becomes one graph where it can."""
        with training_blocks(self.transformer, self.hardware):
            yield Graphs(self.hardware.graphs and self.hardware.batch_terms)

    def run(
        self,
        latents: Tensor,
        tokens: Tensor,
        pooled: Tensor | None,
        clock: Tensor,
        guidance: Tensor | None,
    ) -> Tensor:
        """Run the transformer on latents, packed and unpacked again."""
        h, w = latents.shape[-2:]
        key = (h, w, tokens.shape[1])
        if key not in self._positions:
            text_ids = torch.zeros(tokens.shape[1], 3, device=self.device, dtype=self.dtype)
            self._positions[key] = (image_ids(h, w).to(self.device, self.dtype), text_ids)
        img_ids, txt_ids = self._positions[key]
        output = self.transformer(
            hidden_states=pack(latents).to(self.device, self.dtype),
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            timestep=clock,
            guidance=guidance,
            img_ids=img_ids,
            txt_ids=txt_ids,
            return_dict=False,
        )[0]
        return unpack(output, h, w).float()

"""Own the FLUX model: load, encode, pack, velocity, decode. The only module that knows diffusers.

Trainer and sampler share one velocity function and one sigma grid, so they cannot drift apart:

    sigma(t) = e^mu / (e^mu + 1/t - 1),  t = 1, 1 - 1/n, ..., 1/n,  mu linear in image tokens

Latents are normalised: (z - shift) * scale. Images are in [-1, 1].
Shape letters: B rows, C latent channels, h and w latent height and width, N image tokens,
L text tokens, H and W pixels.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

# Without torchvision transformers says, at import, that the image processors of FluxPipeline's
# unused IP-adapter parts fall back to Pillow.
_imports_log = logging.getLogger("transformers.utils.import_utils")
_imports_log.addFilter(lambda record: "requires torchvision" not in record.getMessage())

from diffusers import FluxPipeline  # noqa: E402
from diffusers.pipelines.flux.pipeline_flux import (  # noqa: E402
    calculate_shift,
    retrieve_timesteps,
)
from diffusers.utils import logging as diffusers_logging  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

PATCH = 2  # latent pixels a side of one token
T_MAX = 1000  # the transformer's clock runs from 0 to 1000 while sigma runs from 0 to 1


@dataclass(frozen=True, kw_only=True)
class Text:
    """Hold encoded prompts."""

    tokens: Tensor  # T5, [B, L, joint dimension]
    pooled: Tensor  # CLIP, [B, pooled dimension]

    def rows(self, index: Sequence[int]) -> Text:
        """Pick prompts by index, with repetition."""
        return Text(tokens=self.tokens[list(index)], pooled=self.pooled[list(index)])


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Hold the VAE's Gaussian over normalised latents."""

    mean: Tensor  # [B, C, h, w], float32; the mode as well
    std: Tensor  # [B, C, h, w], float32


class Flux:
    """Run one FLUX model in its parts. The transformer stays on the accelerator."""

    def __init__(
        self, pipeline: FluxPipeline, *, device: torch.device, max_sequence_length: int
    ) -> None:
        """Take a loaded pipeline over; the transformer moves to `device`, the rest stays put."""
        self.pipeline = pipeline
        self.device = device
        self.max_sequence_length = max_sequence_length
        self.transformer: nn.Module = pipeline.transformer.to(device)
        for part in (
            self.transformer,
            pipeline.vae,
            pipeline.text_encoder,
            pipeline.text_encoder_2,
        ):
            part.requires_grad_(False).eval()

    @property
    def dtype(self) -> torch.dtype:
        """Return the precision the transformer runs in."""
        return self.transformer.dtype

    @property
    def guided(self) -> bool:
        """Say whether the model takes a guidance scale as an input."""
        return bool(self.transformer.config.guidance_embeds)

    def check_resolution(self, resolution: int) -> None:
        """Refuse an image size that does not divide into tokens.

        Raises:
            ValueError: the side in px is no multiple of the VAE's factor times the patch.
        """
        unit = self.pipeline.vae_scale_factor * PATCH
        if resolution < unit or resolution % unit:
            raise ValueError(f"resolution={resolution}: expected a multiple of {unit} px")

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """Return (C, h, w) of a square image of `resolution` px."""
        side = resolution // self.pipeline.vae_scale_factor
        return self.transformer.config.in_channels // PATCH**2, side, side

    def sigmas(self, resolution: int, steps: int) -> Tensor:
        """Return the noise levels of an inference run.

        Args:
            resolution: side of the image in px; larger images get more noise.
            steps: number of Euler steps.

        Returns:
            float32 [steps + 1] on the CPU, falling from 1 to 0.

        Source: FluxPipeline.__call__, part 5.
        """
        _, h, w = self.latent_shape(resolution)
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

    def noise(self, seed: int, resolution: int) -> Tensor:
        """Draw the starting latent of one seed, whatever the batch or the device.

        Returns:
            float32 [C, h, w] on the CPU; FluxPipeline draws the same from a CPU generator.
        """
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((1, *self.latent_shape(resolution)), generator=generator)[0]

    @torch.no_grad()
    def encode_prompt(self, prompts: Sequence[str]) -> Text:
        """Encode prompts with both text encoders, which leave the accelerator again.

        Args:
            prompts: at least one; each distinct one is encoded once, on its own.

        Returns:
            Embeddings on the transformer's device and in its precision.
        """
        encoders = (self.pipeline.text_encoder, self.pipeline.text_encoder_2)
        with self._on_device(*encoders):
            known = {
                prompt: self.pipeline.encode_prompt(
                    prompt,
                    device=self.device,
                    max_sequence_length=self.max_sequence_length,
                )
                for prompt in dict.fromkeys(prompts)
            }
        tokens = torch.cat([known[prompt][0] for prompt in prompts])
        pooled = torch.cat([known[prompt][1] for prompt in prompts])
        return Text(tokens=tokens.to(self.dtype), pooled=pooled.to(self.dtype))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Posterior:
        """Encode images with the VAE, which leaves the accelerator again.

        Args:
            images: float [B, 3, H, W] in [-1, 1].

        Returns:
            The posterior over normalised latents, on the transformer's device.
        """
        vae = self.pipeline.vae
        with self._on_device(vae):
            posterior = vae.encode(images.to(self.device, vae.dtype)).latent_dist
            mean = (posterior.mean.float() - vae.config.shift_factor) * vae.config.scaling_factor
            std = posterior.std.float() * vae.config.scaling_factor
        return Posterior(mean=mean, std=std)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents with the VAE, which leaves the accelerator again.

        Args:
            latents: float [B, C, h, w], normalised.

        Returns:
            float32 [B, 3, H, W] on the CPU, about [-1, 1], not clamped.
        """
        vae = self.pipeline.vae
        with self._on_device(vae):
            raw = latents.to(self.device, vae.dtype) / vae.config.scaling_factor
            images = vae.decode(raw + vae.config.shift_factor, return_dict=False)[0]
        return images.float().cpu()

    def velocity(
        self, latents: Tensor, sigma: Tensor, text: Text, guidance_scale: float | None
    ) -> Tensor:
        """Run the transformer once.

        Args:
            latents: float32 [B, C, h, w], noisy.
            sigma: float32 [B] or [], the noise level.
            text: B prompts.
            guidance_scale: the guidance embedding; None for a model without one.

        Returns:
            float32 [B, C, h, w], d latents / d sigma.

        Raises:
            ValueError: a guidance scale for a model without one, or none for a model with one.
        """
        if self.guided != (guidance_scale is not None):
            expected = "a number, this model embeds it" if self.guided else "null, it has no effect"
            raise ValueError(f"guidance_scale={guidance_scale}: expected {expected}")
        rows, _, h, w = latents.shape
        # Through the clock and back, in the model's precision: bit for bit what diffusers passes.
        clock = (sigma * T_MAX).expand(rows).to(self.device, self.dtype) / T_MAX
        guidance = None
        if guidance_scale is not None:
            guidance = torch.full((rows,), guidance_scale, device=self.device)
        output = self.transformer(
            hidden_states=pack(latents).to(self.device, self.dtype),
            encoder_hidden_states=text.tokens,
            pooled_projections=text.pooled,
            timestep=clock,
            guidance=guidance,
            img_ids=image_ids(h, w).to(self.device, self.dtype),
            txt_ids=torch.zeros(text.tokens.shape[1], 3, device=self.device, dtype=self.dtype),
            return_dict=False,
        )[0]
        return unpack(output, h, w).float()

    @contextmanager
    def _on_device(self, *parts: nn.Module) -> Iterator[None]:
        """Lend the accelerator to parts that are needed only now and then."""
        for part in parts:
            part.to(self.device)
        try:
            yield
        finally:
            for part in parts:
                part.to("cpu")


def pack(latents: Tensor) -> Tensor:
    """Turn [B, C, h, w] into tokens of 2 x 2 latent pixels, [B, h / 2 * w / 2, 4 C]."""
    rows, channels, h, w = latents.shape
    patches = latents.reshape(rows, channels, h // PATCH, PATCH, w // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor, h: int, w: int) -> Tensor:
    """Turn tokens [B, h / 2 * w / 2, 4 C] back into [B, C, h, w]."""
    rows = len(tokens)
    patches = tokens.reshape(rows, h // PATCH, w // PATCH, -1, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(rows, -1, h, w)


def image_ids(h: int, w: int) -> Tensor:
    """Return the position (0, row, column) of every token, float32 [h / 2 * w / 2, 3]."""
    y, x = torch.meshgrid(torch.arange(h // PATCH), torch.arange(w // PATCH), indexing="ij")
    return torch.stack([torch.zeros_like(y), y, x], dim=-1).reshape(-1, 3).float()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what diffusers and transformers say: what they raise says it, bars are for terminals."""
    libraries = (diffusers_logging, transformers_logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)
        if not sys.stderr.isatty():
            library.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            library.enable_progress_bar()


@functools.lru_cache(maxsize=1)
def load(path: str, *, device: str, precision: str, max_sequence_length: int) -> Flux:
    """Load a FLUX model, or return the one loaded last if it is the same.

    Args:
        path: a diffusers FluxPipeline folder, or a model hub id.
        device: a torch device, such as cpu or cuda.
        precision: of the transformer and the text encoders: float32 or bfloat16. The VAE runs
            in float32.
        max_sequence_length: T5 tokens of a prompt; longer ones are cut.

    Returns:
        The model with the transformer on the device and everything frozen.

    Raises:
        ValueError: names the path and why it cannot be loaded.
    """
    if torch.device(device).type == "cuda":
        # torch 2.11 with CUDA 13: its attention backward crashes on FLUX's shapes.
        torch.backends.cuda.enable_cudnn_sdp(False)
    dtype = getattr(torch, precision)
    try:
        with _quiet():
            pipeline = FluxPipeline.from_pretrained(
                path,
                dtype={"vae": torch.float32, "default": dtype},
                # A pickle could run code.
                use_safetensors=True,
            )
    except (OSError, ValueError, json.JSONDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        if not Path(path).is_dir():
            reason = "neither in the local cache nor to be had from the model hub; " + (
                "unset HF_HUB_OFFLINE, " if os.environ.get("HF_HUB_OFFLINE") else ""
            )
            reason += "accept its licence and run `hf auth login`, or name a local folder"
        raise ValueError(f"model.path={path}: not a readable FLUX model: {reason}") from error
    return Flux(pipeline, device=torch.device(device), max_sequence_length=max_sequence_length)

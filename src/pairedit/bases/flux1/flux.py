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
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairedit.bases.base import Posterior
from pairedit.machine.hardware import AUTO, PROFILES, Hardware, choose

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

from pairedit.bases.flux1.modulations import Modulations  # noqa: E402
from pairedit.bases.flux1.names import NAMES  # noqa: E402
from pairedit.bases.flux1.place import place, start_compiler  # noqa: E402
from pairedit.machine.devices import bring, settle_gpu  # noqa: E402

log = logging.getLogger(__name__)

PATCH = 2  # latent pixels a side of one token
DECODED = 2**20  # px that the VAE decodes at once
PLAIN = Hardware()
T_MAX = 1000  # the transformer's clock runs from 0 to 1000 while sigma runs from 0 to 1


@dataclass(frozen=True, kw_only=True)
class Text:
    """Hold encoded prompts."""

    prompts: tuple[str, ...]  # B
    tokens: Tensor  # T5, [B, L, joint dimension]
    pooled: Tensor  # CLIP, [B, pooled dimension]

    def rows(self, index: Sequence[int]) -> Text:
        """Pick prompts by index, with repetition."""
        picked = list(index)
        return Text(
            prompts=tuple(self.prompts[i] for i in picked),
            tokens=self.tokens[picked],
            pooled=self.pooled[picked],
        )

    def of(self, prompts: Sequence[str]) -> Text:
        """Pick prompts by their words, with repetition."""
        return self.rows([self.prompts.index(prompt) for prompt in prompts])


class Flux:
    """Run one FLUX model in its parts. The transformer stays on the accelerator."""

    names = NAMES

    def __init__(
        self,
        pipeline: FluxPipeline,
        *,
        device: torch.device,
        max_sequence_length: int,
        hardware: Hardware = PLAIN,
    ) -> None:
        """Take a loaded pipeline over; its parts move to `device` when they are needed."""
        if device.type == "cuda":
            settle_gpu()
        self.pipeline = pipeline
        self.device = device
        self.max_sequence_length = max_sequence_length
        self.hardware = hardware
        self.transformer: nn.Module = pipeline.transformer
        self.dtype: torch.dtype = self.transformer.dtype  # that it runs in
        self.prepared = 0  # how often the transformer was made ready anew
        self._placed = False
        if hardware.compile:
            start_compiler()
        self._modulations: Modulations | None = None
        # (sigma, prompt, guidance): number of its modulation
        self._known: dict[tuple[float, str, float | None], int] = {}
        self._positions: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        for part in (
            self.transformer,
            pipeline.vae,
            pipeline.text_encoder,
            pipeline.text_encoder_2,
        ):
            part.requires_grad_(False).eval()
        if hardware.fused:
            # Attention leaves its output transposed, which all that follows is slower on.
            for layer in filter(None, pipeline.vae.decoder.mid_block.attentions):
                layer.register_forward_hook(lambda *given: given[-1].contiguous())

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
        with self._on_device(*encoders) as device:
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

    @torch.no_grad()
    def encode(self, images: Tensor) -> Posterior:
        """Encode images with the VAE, which leaves the accelerator again.

        Args:
            images: float [B, 3, H, W] in [-1, 1].

        Returns:
            The posterior over normalised latents, on the transformer's device.
        """
        vae = self.pipeline.vae
        with self._on_device(vae) as device:
            posterior = vae.encode(images.to(device, vae.dtype)).latent_dist
            mean = (posterior.mean.float() - vae.config.shift_factor) * vae.config.scaling_factor
            std = posterior.std.float() * vae.config.scaling_factor
        return Posterior(mean=mean.to(self.device), std=std.to(self.device))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents with the VAE, which leaves the accelerator again.

        Args:
            latents: float [B, C, h, w], normalised.

        Returns:
            float32 [B, 3, H, W] where it was decoded, about [-1, 1], not clamped.
        """
        vae = self.pipeline.vae
        # Large images a few at a time, in the transformer's precision: each takes gigabytes.
        large = self.hardware.fused
        count = len(latents)
        if large:
            count = max(1, DECODED // (latents[0, 0].numel() * self.pipeline.vae_scale_factor**2))
        used = [part for part in (vae.post_quant_conv, vae.decoder) if part is not None]
        with self._on_device(*used, dtype=self.dtype if large else None) as device:
            raw = latents.to(device) / vae.config.scaling_factor + vae.config.shift_factor
            raw = raw.to(next(vae.decoder.parameters()).dtype)

            def images(count: int) -> Tensor:
                parts = [vae.decode(part, return_dict=False)[0] for part in raw.split(count)]
                return torch.cat(parts).float()

            try:
                return images(count)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                return images(1)

    def prepare(self, sigmas: Tensor, text: Text, guidance_scale: float | None) -> None:
        """Make the transformer ready for passes at some noise levels, for some prompts.

        Args:
            sigmas: float32 [steps + 1], falling to 0; see `Flux.sigmas`.
            text: the prompts; some more of them are forgotten if others come.
            guidance_scale: the guidance embedding; None for a model without one.

        Raises:
            ValueError: a library for the precision asked for is missing.
        """
        self.place()
        wanted = [(s, p) for s in sigmas[:-1].tolist() for p in dict.fromkeys(text.prompts)]
        wanted = [(*key, guidance_scale) for key in wanted]
        if self._modulations is None or all(key in self._known for key in wanted):
            return
        pooled = text.of([prompt for _, prompt, _ in wanted]).pooled
        guidance = None
        if guidance_scale is not None:
            guidance = torch.full((len(wanted),), guidance_scale, device=self.device)
        levels = torch.tensor([sigma for sigma, _, _ in wanted])
        self._modulations.compute(self._clock(levels), guidance, pooled)
        self._known = {key: number for number, key in enumerate(wanted)}
        self.prepared += 1

    def place(self) -> None:
        """Move the transformer to its device, unless it is there."""
        if not self._placed:
            self._modulations = place(self.transformer, self.hardware, self.device)
            self._placed = True
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # of what was needed on the way

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
        self.place()
        if self._modulations is not None:
            return self.modulated(latents, text.tokens, self.numbers(sigma, text, guidance_scale))
        rows = len(latents)
        guidance = None
        if guidance_scale is not None:
            guidance = torch.full((rows,), guidance_scale, device=self.device)
        clock = self._clock(sigma.expand(rows))
        return self._pass(latents, text.tokens, text.pooled, clock, guidance)

    def numbers(self, sigma: Tensor, text: Text, guidance_scale: float | None) -> Tensor:
        """Return the number of each row's modulation, int64 [B] on the device; see `prepare`."""
        levels = sigma.expand(len(text.prompts)).tolist()
        keys = zip(levels, text.prompts, strict=True)
        found = [self._known[sigma, prompt, guidance_scale] for sigma, prompt in keys]
        return torch.tensor(found).to(self.device, non_blocking=True)

    def modulated(self, latents: Tensor, tokens: Tensor, numbers: Tensor) -> Tensor:
        """Run the transformer once, on tensors of the device only.

        Args:
            latents: float32 [B, C, h, w], noisy.
            tokens: T5 embeddings [B, L, joint dimension].
            numbers: see `numbers`.

        Returns:
            See `velocity`.
        """
        self._modulations.select(numbers)
        return self._pass(latents, tokens, None, numbers, None)

    def _pass(
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

    def _clock(self, sigmas: Tensor) -> Tensor:
        """Go through the clock and back, in the model's precision, as diffusers does."""
        return (sigmas * T_MAX).to(self.device, self.dtype) / T_MAX

    @contextmanager
    def _on_device(
        self, *parts: nn.Module, dtype: torch.dtype | None = None
    ) -> Iterator[torch.device]:
        """Lend the accelerator to parts that are needed only now and then; give where they are."""
        device = self.device
        # Copied there and forgotten, rather than moved back: what is on the CPU stays valid.
        kept = [(weight, weight.data) for part in parts for weight in _tensors(part)]
        try:
            for weight, values in kept:
                weight.data = bring(values, device).to(dtype or values.dtype)
        except torch.OutOfMemoryError:
            # Beside a transformer that is there already; slower, but it works.
            device = torch.device("cpu")
            for weight, values in kept:
                weight.data = values
        try:
            yield device
        finally:
            for weight, values in kept:
                weight.data = values
            if self.device.type == "cuda" and not self._placed:
                torch.cuda.empty_cache()  # gigabytes in pieces that the transformer would not fit


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Walk over the parameters and buffers of a module."""
    yield from module.parameters()
    yield from module.buffers()


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
def load(
    path: str,
    *,
    device: str,
    precision: str,
    max_sequence_length: int,
    hardware: Hardware = PLAIN,
    changes: tuple[tuple[str, Any], ...] = (),
) -> Flux:
    """Load a FLUX model, or return the one loaded last if it is the same.

    Args:
        path: a diffusers FluxPipeline folder, or a model hub id.
        device: a torch device, such as cpu or cuda.
        precision: that the hardware's `auto` stands for, float32 or bf16. The VAE runs in float32.
        max_sequence_length: T5 tokens of a prompt; longer ones are cut.
        hardware: how the transformer runs; see `hardware.choose`, which settles its `auto`.
        changes: fields of the hardware that the user set apart from it.

    Returns:
        The model with the transformer on the device and everything frozen.

    Raises:
        ValueError: names the path and why it cannot be loaded.
    """
    asked = dict(changes).get("precision", hardware.precision)
    plain = precision if asked == AUTO else asked
    dtype = torch.float32 if plain == "float32" else torch.bfloat16
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
    free = torch.cuda.mem_get_info()[0] / 2**30 if torch.device(device).type == "cuda" else 0.0
    parameters = sum(weight.numel() for weight in pipeline.transformer.parameters())
    chosen = choose(
        hardware,
        device=torch.device(device).type,
        free=free,
        parameters=parameters,
        precision=precision,
        changes=dict(changes),
    )
    if hardware.name == AUTO and chosen.name in PROFILES:
        log.info("hardware=%s: %.1f GiB are free on the GPU", chosen.name, free)
    return Flux(
        pipeline,
        device=torch.device(device),
        max_sequence_length=max_sequence_length,
        hardware=chosen,
    )

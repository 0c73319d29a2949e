"""Own what bases share: a pipeline of diffusers, and blocks that run nearly as diffusers has them.

Each base adds its noise levels, how it encodes prompts, and its pass. FLUX.1 also places
its blocks in its own way, and FLUX.2 has latents of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pairedit.bases.base import Posterior
from pairedit.bases.decoder import fuse_decoder
from pairedit.bases.decoding import at_once, decode_parts
from pairedit.lora.names import Names
from pairedit.machine.attention import Attend, choose_attention
from pairedit.machine.blocks import (
    bring_block,
    compile_blocks,
    quantise_linears,
    run_again,
    start_compiler,
)
from pairedit.machine.devices import settle_gpu
from pairedit.machine.graphs import Graphs
from pairedit.machine.hardware import Hardware
from pairedit.machine.lending import lend
from pairedit.machine.quantised import quantiser
from pairedit.machine.swapping import swapping
from pairedit.settings import Size

PLAIN = Hardware()


class PlainBase:
    """Run one base model in its parts. The transformer stays on the accelerator."""

    names: Names
    kept: ClassVar[int] = 0  # encoded prompts

    def __init__(
        self,
        pipeline: Any,
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
        self._placed = False
        self._encoded: dict[str, Tensor] = {}  # on the CPU
        if hardware.compile:
            start_compiler()
        for part in pipeline.components.values():
            if isinstance(part, nn.Module):
                part.requires_grad_(False).eval()
        if hardware.fused:
            fuse_decoder(pipeline.vae.decoder)

    def latent_shape(self, size: Size) -> tuple[int, int, int]:
        """Return (C, h, w) of an image; see `Base.latent_shape`."""
        raise NotImplementedError

    def fuse(self, block: nn.Module, attend: Attend) -> None:
        """Let a block of the transformer attend by `attend`, on fewer operations where it can."""
        raise NotImplementedError

    def encode_prompt(self, prompt: str, device: torch.device) -> Tensor:
        """Return the features of one prompt, [L, D], encoded on a device."""
        raise NotImplementedError

    @torch.no_grad()
    def encode(self, images: Tensor) -> Posterior:
        """Encode images to normalised latents, on the transformer's device."""
        vae = self.pipeline.vae
        with lend([vae], self.device, clear=not self._placed) as device:
            posterior = vae.encode(images.to(device, vae.dtype)).latent_dist
            mean = (posterior.mean.float() - vae.config.shift_factor) * vae.config.scaling_factor
            std = posterior.std.float() * vae.config.scaling_factor
        return Posterior(mean=mean.to(self.device), std=std.to(self.device))

    def unscaled(self, latents: Tensor) -> Tensor:
        """Return what the VAE decodes, float32 [B, C, H, W], of normalised latents."""
        config = self.pipeline.vae.config
        return latents / config.scaling_factor + config.shift_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode normalised latents; the images stay where they were decoded."""
        vae = self.pipeline.vae
        with self._decoding() as device:
            raw = self.unscaled(latents.to(device)).to(next(vae.decoder.parameters()).dtype)
            count = len(raw)
            if self.device.type == "cuda":  # each large image takes gigabytes
                count = at_once(raw[0, 0].numel() * self.pipeline.vae_scale_factor**2)
            return decode_parts(vae, raw, count)

    def _decoding(self) -> AbstractContextManager[torch.device]:
        """Lend the device to what decodes; where much is fused, in the transformer's precision."""
        vae, dtype = self.pipeline.vae, self.dtype if self.hardware.fused else None
        used = [part for part in (vae.post_quant_conv, vae.decoder) if part is not None]
        return lend(used, self.device, dtype=dtype, clear=not self._placed)

    def noise(self, seed: int, size: Size) -> Tensor:
        """Draw the latent that diffusers' pipeline draws from a CPU generator of this seed."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((1, *self.latent_shape(size)), generator=generator)[0]

    @torch.no_grad()
    def encoded(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Encode prompts that are new, in the transformer's precision; all of them, on the CPU."""
        wanted = list(dict.fromkeys(prompts))
        known = {prompt: self._encoded[prompt] for prompt in wanted if prompt in self._encoded}
        new = [prompt for prompt in wanted if prompt not in known]
        if new:
            encoder = [self.pipeline.text_encoder]
            with lend(encoder, self.device, clear=not self._placed) as device:
                for prompt in new:
                    known[prompt] = self.encode_prompt(prompt, device).to(self.dtype).cpu()
        self._encoded = dict([*(self._encoded | known).items()][-self.kept :])
        return known

    def prepare(self, sigmas: Tensor, text: Any, guidance_scale: float | None) -> None:
        """Move the transformer to its device.

        Raises:
            ValueError: a library for the precision asked for is missing.
        """
        self.place()

    def place(self) -> None:
        """Move the transformer to its device, block by block, unless it is there."""
        if self._placed:
            return
        quantise = quantiser(self.hardware.precision)
        blocks, attend = list(self.blocks()), choose_attention(self.device, self.dtype)
        swaps = swapping(blocks, self.hardware.swapped, self.device)
        for block in blocks:
            bring_block(block, self.device)
            if self.hardware.fused:
                self.fuse(block, attend)
            quantise_linears(block, quantise)
            swaps(block)
        self.transformer.to(self.device)
        if self.hardware.compile:
            compile_blocks(blocks, dynamic=self.hardware.dynamic)
        self._placed = True
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # of what was needed on the way

    def blocks(self) -> Iterator[nn.Module]:
        """Walk over all blocks, in the order in which they run."""
        for kind in self.names.kinds:
            yield from getattr(self.transformer, kind.name)

    def rows(self, count: int) -> int:
        """Round up to a power of two if blocks are compiled: each number is compiled apart."""
        known = self.hardware.compile or self.hardware.graphs
        return 2 ** (count - 1).bit_length() if known else count

    @contextmanager
    def training(self) -> Iterator[Graphs]:
        """Let the blocks run for training inside; a step becomes one graph where it can."""
        share = self.hardware.gradient_checkpointing
        with run_again(self.transformer, list(self.blocks()), share):
            yield Graphs(self.hardware.graphs and self.hardware.batch_terms)

    @contextmanager
    def sampling(self) -> Iterator[Graphs]:
        """Give what runs a pass; its graphs are forgotten with the LoRAs.

        Where memory is plenty, what decodes stays meanwhile: to bring it takes as long as it runs.
        """
        with self._decoding() if self.hardware.graphs else nullcontext():
            yield Graphs(self.hardware.graphs)

"""Own the naive loop: the published algorithm with diffusers and peft as they come.

    each step   encode both images; content pass v(c), semantic pass v([c], s), one after the
                other; the sum of both losses; AdamW
    each image  28 Euler steps from its own noise, the LoRA on from step `skip`

Everything stays on the GPU in bf16, LoRAs too; nothing is compiled, batched or remembered.
Written from the equations, without any part of pairedit that trains or samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from measure import Bench, Clock, config, forward_flops, spread, tokens, training_flops
from pairedit.data.examples import find_pairs
from pairedit.data.images import load_image, to_tensor
from pairedit.files import locate
from sizes import Size, build

ROLES = ("content", "semantic")
RANK, ALPHA, RATE, ETA, GUIDANCE = 16, 1.0, 2e-3, 4.0, 3.5  # published
SCALES = (0.0, 0.8, 1.0, 1.2)
DOUBLE = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj")
TARGETS = [*DOUBLE, "to_add_out"]  # single blocks have the first three only


class Naive:
    """Run FLUX with two peft LoRAs."""

    def __init__(
        self,
        size: Size,
        device: torch.device,
        *,
        roles: Sequence[str] = ROLES,
        alpha: float = ALPHA,
        dtype: torch.dtype | None = None,
        exact: bool = False,
    ) -> None:
        """Build the model and attach LoRAs.

        Args:
            size: of the model.
            device: for all of it.
            roles: the LoRAs.
            alpha: their updates are scaled by alpha / rank.
            dtype: of the model; the size's own by default. Its weights have that of the size first.
            exact: LoRAs and VAE in float32.
        """
        self.size, self.device, self.dtype = size, device, dtype or size.dtype
        self.pipeline = build(size)
        self.transformer = self.pipeline.transformer
        for part in self.pipeline.components.values():
            if isinstance(part, nn.Module):
                # diffusers' own `to` warns of nothing here.
                nn.Module.to(part.requires_grad_(False).eval(), device, self.dtype)
        for role in roles:
            lora = LoraConfig(
                r=RANK, lora_alpha=alpha, target_modules=TARGETS, init_lora_weights="gaussian"
            )
            with warnings.catch_warnings():
                # Two LoRAs at once are the point here.
                warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")
                self.transformer.add_adapter(lora, adapter_name=role)
        if exact:
            self.pipeline.vae.float()
        lora_dtype = torch.float32 if exact else self.dtype
        self.weights: dict[str, dict[str, tuple[nn.Parameter, nn.Parameter]]] = {
            role: {} for role in roles
        }
        modules = self.transformer.named_modules()
        layers = {name: layer for name, layer in modules if isinstance(layer, LoraLayer)}
        self.layers = list(layers.values())
        for name, layer in layers.items():
            for role in roles:
                pair = layer.lora_A[role].weight, layer.lora_B[role].weight
                for weight in pair:
                    weight.data = weight.data.to(lora_dtype)
                self.weights[role][name] = pair
        tokens, pooled, _ = self._encode_prompt()
        self.text: tuple[Tensor, Tensor] = (tokens, pooled)
        self.sigmas = self._sigmas()

    @torch.no_grad()
    def _encode_prompt(self) -> tuple[Tensor, ...]:
        return self.pipeline.encode_prompt(
            "", "", device=self.device, max_sequence_length=self.size.length
        )

    def _sigmas(self) -> Tensor:
        """Return the noise levels of an inference run on the CPU, falling from 1 to 0."""
        scheduler = self.pipeline.scheduler
        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        mu = calculate_shift(tokens(self.size)[0], *(scheduler.config[name] for name in names))
        grid = np.linspace(1.0, 1 / self.size.steps, self.size.steps)
        retrieve_timesteps(scheduler, self.size.steps, "cpu", sigmas=grid, mu=mu)
        return scheduler.sigmas

    def load(self, role: str, weights: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set the weights of one LoRA."""
        for module, pair in weights.items():
            for weight, value in zip(self.weights[role][module], pair, strict=True):
                weight.data.copy_(value)

    def parameters(self, role: str) -> list[nn.Parameter]:
        """List the weights of one LoRA."""
        return [weight for pair in self.weights[role].values() for weight in pair]

    def on(self, roles: Sequence[str], learns: Sequence[str]) -> None:
        """Switch LoRAs on, the others off, and let some of them learn."""
        # diffusers' `set_adapters` walks over all modules, which would count against the step.
        for layer in self.layers:
            layer.set_adapter(list(roles))
        for role in self.weights:
            for weight in self.parameters(role):
                weight.requires_grad_(role in learns)

    def encode(self, image: Tensor) -> Tensor:
        """Turn an image [1, 3, H, W] into normalised latents [1, C, h, w]."""
        vae = self.pipeline.vae
        latents = vae.encode(image.to(self.device, vae.dtype)).latent_dist.sample()
        return (latents - vae.config.shift_factor) * vae.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents [1, C, h, w] into an image in [-1, 1], float32 [3, H, W] on the CPU."""
        vae = self.pipeline.vae
        raw = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        return vae.decode(raw, return_dict=False)[0][0].float().cpu()

    def velocity(self, latents: Tensor, sigma: Tensor) -> Tensor:
        """Run the transformer on one row, float32 [1, C, h, w]."""
        rows, channels, h, w = latents.shape
        packed = FluxPipeline._pack_latents(latents, rows, channels, h, w)
        text, pooled = self.text
        output = self.transformer(
            hidden_states=packed.to(self.dtype),
            encoder_hidden_states=text,
            pooled_projections=pooled,
            timestep=(sigma * 1000).expand(rows).to(self.device, self.dtype) / 1000,
            guidance=torch.full((rows,), GUIDANCE, device=self.device),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                rows, h // 2, w // 2, self.device, self.dtype
            ),
            txt_ids=torch.zeros(text.shape[1], 3, device=self.device, dtype=self.dtype),
            return_dict=False,
        )[0]
        scale = self.pipeline.vae_scale_factor
        return FluxPipeline._unpack_latents(output, h * scale, w * scale, scale).float()

    def losses(
        self, source: Tensor, target: Tensor, noise: Tensor, sigma: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss of each term; every LoRA learns again afterwards.

        Args:
            source: clean latents, float32 [1, C, h, w].
            target: the same.
            noise: unit Gaussian, the same shape.
            sigma: the noise level, on the CPU.
        """
        noisy = source + float(sigma) * noise
        self.on(ROLES[:1], learns=ROLES[:1])
        content = F.mse_loss(self.velocity(noisy, sigma), noise)
        self.on(ROLES, learns=ROLES[1:])
        semantic = F.mse_loss(self.velocity(noisy, sigma), noise + ETA * (source - target))
        # A weight without requires_grad would not take the gradient of the first pass.
        self.on(ROLES, learns=ROLES)
        return {"content": content, "semantic": semantic}

    @torch.no_grad()
    def render(self, noise: Tensor, scale: float) -> Tensor:
        """Render one image from noise [1, C, h, w], float32; see `decode`."""
        latents = noise
        for index, (sigma, following) in enumerate(
            zip(self.sigmas[:-1], self.sigmas[1:], strict=True)
        ):
            if index == 0:
                self.transformer.disable_adapters()
            if index == self.size.skip:
                self.transformer.enable_adapters()
                self.transformer.set_adapters(["semantic"], scale)
            latents = latents + (following - sigma) * self.velocity(latents, sigma)
        return self.decode(latents)


def train(bench: Bench, *, profiled: bool = False) -> dict[str, Any]:
    """Measure training."""
    size, device = bench.size, bench.device
    naive = Naive(size, device)
    bench.say("model on its device")
    weights = [weight for role in ROLES for weight in naive.parameters(role)]
    optimizer = torch.optim.AdamW(weights, lr=RATE)
    pairs = find_pairs(locate("pkg://data/age"))
    clock = Clock(bench, profiled=profiled)
    torch.manual_seed(0)
    for step in range(1, size.warm_up + size.timed + 1):
        pair = pairs[int(torch.randint(len(pairs), ()))]
        with torch.no_grad():
            source, target = (
                naive.encode(to_tensor(load_image(path, size.image))[None]).float()
                for path in pair.images
            )
        sigma = naive.sigmas[int(torch.randint(size.steps, ()))]
        noise = torch.randn(source.shape).to(device)
        loss = sum(naive.losses(source, target, noise, sigma).values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        clock.log(step, {"loss": loss.detach()})
    return clock.report(training_flops(config(size), *tokens(size), rows=len(ROLES)))


def sample(bench: Bench) -> dict[str, Any]:
    """Measure rows of images, one for each scale."""
    size = bench.size
    naive = Naive(size, bench.device, roles=ROLES[1:])
    bench.say("model on its device")
    seconds, marks = [], []
    for row in range(size.rows + 1):
        start = bench.elapsed
        for scale in SCALES if row else SCALES[:1]:  # one image warms up
            shape = (1, size.vae["latent_channels"], *[size.resolution // 8] * 2)
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(row))
            naive.render(noise.to(bench.device), scale)
        marks.append(bench.elapsed)
        seconds.append(bench.elapsed - start)
        bench.say(f"row {row}")
    forwards = len(SCALES) * size.steps
    return {
        "unit": "row",
        "seconds": spread(seconds[1:]),
        "first": marks[0],
        "tflop": forwards * forward_flops(config(size), *tokens(size)) / 1e12,
        "peak": bench.memory(),
        "notes": {"first": "one image, not a row"},
    }

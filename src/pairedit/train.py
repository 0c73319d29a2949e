"""Own training: one loop over steps, whatever the method.

    loss = sum over terms of mean((v(noisy, sigma; LoRAs) - target)^2), float32, one AdamW step

Everything random (LoRA weights, pair, step index, noise, posterior) comes from one seeded CPU
generator, so the same seed gives the same bytes on a CPU.
Shape letters: P pairs, T terms, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from tqdm import trange

from pairedit.adapters import Adapters, Row
from pairedit.data import Contrast, Pair, load_image, to_tensor
from pairedit.devices import make_accelerator
from pairedit.flux import Flux, Posterior, Text
from pairedit.lora import write_lora
from pairedit.methods import Method, Step, Term
from pairedit.tracking import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hold the numbers of a training run, independent of model, method and data."""

    steps: int = 500
    learning_rate: float = 2e-3
    rank: int = 16
    alpha: float = 1.0
    targets: str | tuple[str, ...] = "attention"
    resolution: int = 512  # px
    num_inference_steps: int = 28
    start_step: int = 0
    end_step: int = 27  # inclusive
    guidance_scale: float | None = 3.5
    seed: int = 0
    save_every: int = 0  # updates between checkpoints; 0 keeps the final file only
    latents: str = "mode"  # mode or sample of the VAE's posterior
    batch_terms: bool = True
    gradient_checkpointing: bool = False


def fit(
    *,
    flux: Flux,
    method: Method,
    pairs: Sequence[Pair] | Sequence[Contrast],
    settings: Settings,
    folder: Path,
    run: Run,
    metadata: Mapping[str, Any],
    accelerator: Accelerator | None = None,
    name: str = "train",
) -> dict[str, Path]:
    """Train one method on one set of pairs, or of prompts.

    Args:
        flux: the model, without LoRAs; it is left without.
        method: turns a step into terms.
        pairs: at least one, of the kind that the method learns from.
        settings: the numbers of the run.
        folder: receives `<role>.safetensors` for each LoRA, and checkpoints named
            `<role>-000200.safetensors` that have seen exactly that many updates.
        run: receives the loss of every step.
        metadata: JSON values for the header of the LoRA files.
        accelerator: runs the backward pass; one for the model's device by default.
        name: of the progress bar.

    Returns:
        The final file of each LoRA by role.

    Raises:
        ValueError: bad targets or resolution, a loss that is not finite, or a LoRA part that
            training never reached.
    """
    flux.check_resolution(settings.resolution)
    accelerator = accelerator or make_accelerator(flux.device.type)
    generator = torch.Generator().manual_seed(settings.seed)
    # Prompts have no sides: a method that learns from them makes its own latents.
    sides = () if isinstance(pairs[0], Contrast) else encode_pairs(flux, pairs, settings.resolution)
    shape = flux.latent_shape(settings.resolution)
    text = _Prompts(flux)
    sigmas = flux.sigmas(settings.resolution, settings.num_inference_steps)
    adapters = Adapters(flux.transformer)
    with _checkpointing(flux, settings.gradient_checkpointing):
        try:
            for role in method.roles:
                modules = adapters.add(
                    role,
                    rank=settings.rank,
                    alpha=settings.alpha,
                    targets=settings.targets,
                    generator=generator,
                )
                log.debug("%s: LoRA %s on %d modules", name, role, modules)
            weights = {role: adapters.parameters(role) for role in method.roles}
            optimizer = accelerator.prepare(
                torch.optim.AdamW(
                    [weight for part in weights.values() for weight in part],
                    lr=settings.learning_rate,
                )
            )

            def save(step: int, suffix: str) -> dict[str, Path]:
                paths = {}
                for role in method.roles:
                    paths[role] = folder / f"{role}{suffix}.safetensors"
                    notes = {**metadata, "role": role, "step": step, "rank": settings.rank}
                    write_lora(paths[role], adapters.weights(role), notes)
                return paths

            def velocity(
                noisy: Tensor, sigma: float, prompt: str, scales: Mapping[str, float]
            ) -> Tensor:
                with torch.no_grad(), adapters.rows([Row(scales=scales)]):
                    return flux.velocity(
                        noisy[None],
                        torch.tensor(sigma),
                        text([prompt]),
                        settings.guidance_scale,
                    )[0]

            started = time.perf_counter()
            bar = trange(1, settings.steps + 1, desc=name, unit="step", disable=None)
            for step in bar:
                drawn = _draw(generator, len(pairs), shape, sides, settings)
                sigma = float(sigmas[drawn.index])
                terms = method.terms(
                    Step(
                        **dict(zip(("source", "target"), drawn.sides, strict=False)),
                        prompts=None if sides else pairs[drawn.pair],
                        noise=drawn.noise.to(flux.device),
                        sigma=sigma,
                        path=tuple(sigmas[: drawn.index + 1].tolist()),
                        velocity=velocity,
                    )
                )
                losses: dict[str, float] = {}
                for part in [terms] if settings.batch_terms else [[term] for term in terms]:
                    losses |= backward(
                        flux, adapters, accelerator, part, sigma, text, settings.guidance_scale
                    )
                loss = sum(losses.values())
                if not torch.tensor(loss).isfinite():
                    raise ValueError(
                        f"{name}: the loss is {loss} at step {step}; try a lower learning_rate "
                        f"(now {settings.learning_rate:g})"
                    )
                if step == 1:
                    _check_reached(weights)
                optimizer.step()
                optimizer.zero_grad()
                run.log(
                    step,
                    {
                        "loss": loss,
                        **{f"loss/{term}": value for term, value in losses.items()},
                        "lr": settings.learning_rate,
                        "seconds": round(time.perf_counter() - started, 4),
                    },
                )
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                if settings.save_every and step % settings.save_every == 0:
                    save(step, f"-{step:06d}")
            return save(settings.steps, "")
        finally:
            adapters.remove()


def backward(
    flux: Flux,
    adapters: Adapters,
    accelerator: Accelerator,
    terms: Sequence[Term],
    sigma: float,
    text: _Prompts,
    guidance_scale: float | None,
) -> dict[str, float]:
    """Add the gradients of some terms, run as one batch.

    Returns:
        The loss of each term by name.
    """
    rows = [Row(scales=term.scales, learns=term.learns) for term in terms]
    with adapters.rows(rows):
        predicted = flux.velocity(
            torch.stack([term.noisy for term in terms]),
            torch.tensor(sigma),
            text([term.prompt for term in terms]),
            guidance_scale,
        )
        losses = {
            term.name: F.mse_loss(output, term.target)
            for term, output in zip(terms, predicted, strict=True)
        }
        accelerator.backward(torch.stack(list(losses.values())).sum())
    return {name: loss.item() for name, loss in losses.items()}


def encode_pairs(flux: Flux, pairs: Sequence[Pair], resolution: int) -> tuple[Posterior, Posterior]:
    """Encode every source and every target once.

    Args:
        flux: the model; its VAE is off the accelerator afterwards.
        pairs: P pairs.
        resolution: side in px they are cropped and resized to.

    Returns:
        The posteriors of the P sources and of the P targets, float32 [P, C, h, w].
    """
    sides = []
    for paths in ([pair.source for pair in pairs], [pair.target for pair in pairs]):
        posteriors = [flux.encode(to_tensor(load_image(path, resolution))[None]) for path in paths]
        sides.append(
            Posterior(
                mean=torch.cat([posterior.mean for posterior in posteriors]),
                std=torch.cat([posterior.std for posterior in posteriors]),
            )
        )
    return sides[0], sides[1]


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """Hold what chance decides in one step."""

    pair: int  # or set of prompts
    index: int  # of the inference step
    noise: Tensor
    sides: tuple[Tensor, ...]  # source and target latents, or nothing


def _draw(
    generator: torch.Generator,
    pairs: int,
    shape: tuple[int, int, int],
    sides: Sequence[Posterior],
    settings: Settings,
) -> _Draw:
    """Draw pair, step index, noise and, where asked for, latents, always in this order."""
    pair = int(torch.randint(pairs, (), generator=generator))
    index = int(torch.randint(settings.start_step, settings.end_step + 1, (), generator=generator))
    # Differs from the published code: fresh noise each step instead of 31 fixed seeds.
    noise = torch.randn(shape, generator=generator)
    clean = []
    for side in sides:
        latent = side.mean[pair]
        if settings.latents == "sample":
            spread = torch.randn(shape, generator=generator).to(latent.device)
            latent = latent + side.std[pair] * spread
        clean.append(latent)
    return _Draw(pair=pair, index=index, noise=noise, sides=tuple(clean))


class _Prompts:
    """Encode each prompt when it is first asked for, and keep it."""

    def __init__(self, flux: Flux) -> None:
        self._flux = flux
        self._known: dict[str, Text] = {}

    def __call__(self, prompts: Sequence[str]) -> Text:
        """Return the embeddings of some prompts as one batch."""
        for prompt in prompts:
            if prompt not in self._known:
                self._known[prompt] = self._flux.encode_prompt([prompt])
        parts = [self._known[prompt] for prompt in prompts]
        return Text(
            tokens=torch.cat([part.tokens for part in parts]),
            pooled=torch.cat([part.pooled for part in parts]),
        )


@contextmanager
def _checkpointing(flux: Flux, wanted: bool) -> Iterator[None]:
    """Switch gradient checkpointing on for the block."""
    if wanted:
        flux.transformer.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if wanted:
            flux.transformer.disable_gradient_checkpointing()


def _check_reached(weights: Mapping[str, Sequence[torch.nn.Parameter]]) -> None:
    """Refuse LoRA parts without gradient: they would be saved as if trained.

    Raises:
        ValueError: counts them by role.
    """
    missing = {
        role: count
        for role, part in weights.items()
        if (count := sum(weight.grad is None for weight in part))
    }
    if missing:
        counts = ", ".join(f"{count} weights of {role}" for role, count in missing.items())
        raise ValueError(f"lora.targets: {counts} take no part in the model's output")

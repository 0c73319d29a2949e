"""Own training: one loop over steps, whatever the method.

    loss = sum over terms of mean((v(noisy, sigma; LoRAs) - target)^2), float32, one AdamW step

Everything random (LoRA weights, pair, step index, noise, posterior, a method's own draws) comes
from one seeded CPU generator, so the same seed gives the same bytes on a CPU.
Shape letters: P pairs, T terms, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairedit.bases.base import Base, Posterior
from pairedit.bases.prompts import Prompts
from pairedit.data.examples import Example
from pairedit.data.images import load_image, to_tensor
from pairedit.learner import Learner
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import LoraFile
from pairedit.lora.saving import LoraFiles
from pairedit.machine.devices import bring
from pairedit.methods import Method, Step
from pairedit.runs.about import describe_run
from pairedit.runs.looking import Looking
from pairedit.runs.progress import Progress
from pairedit.runs.settling import Gauge, Settling
from pairedit.runs.stopping import Stopping
from pairedit.runs.tracking import Run
from pairedit.settings import Size, Training


def fit(
    *,
    base: Base,
    method: Method,
    pairs: Sequence[Example],
    settings: Training,
    folder: Path,
    run: Run,
    metadata: Mapping[str, Any],
    name: str = "train",
    init: Mapping[str, LoraFile] | None = None,
    resume: bool = False,
    stopping: Stopping | None = None,
    looking: Looking | None = None,
    gauge: Gauge | None = None,
) -> dict[str, Path]:
    """Train one method on one set of pairs, on a single image, or on prompts.

    Args:
        base: the model, without LoRAs; it is left without.
        method: turns a step into terms.
        pairs: at least one, of the kind that the method learns from.
        settings: the numbers of the run.
        folder: receives `<role>.safetensors`, `checkpoints/` while it trains, and snapshots.
        run: receives the loss of every step.
        metadata: JSON values for the header of the LoRA files.
        name: of the progress bar.
        init: what LoRAs start from, by role; the others start new.
        resume: go on from the last checkpoint, to the bytes of an unbroken run (on a CPU).
        stopping: tells after which step to save and stop.
        looking: renders rows meanwhile, given the LoRAs, what encodes prompts, and the step.
        gauge: the training ends when it reads no more than before; None: after all steps.

    Returns:
        The final file of each LoRA by role.

    Raises:
        ValueError: bad targets or size, a loss that diverges, or a checkpoint of another run.
        Stopped: a signal came; the state is saved.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    shape = base.latent_shape(settings.size)
    sides = encode_pairs(base, pairs, settings.size)
    sigmas = base.sigmas(settings.size, settings.num_inference_steps)
    text = Prompts(base, sigmas, settings.guidance_scale, first=_prompts(pairs, looking))
    adapters = Adapters(base)
    with (stopping := stopping or Stopping()).held(), base.training() as run_pass:
        try:
            learner = Learner(base, adapters, text, settings, run_pass)
            progress = Progress(
                name=name,
                settings=settings,
                folder=folder,
                state=learner.attach(method.roles, generator, init),
                save=LoraFiles(adapters, method.roles, folder, {**metadata, "rank": settings.rank}),
                run=run,
                about=describe_run(method, pairs, settings, base.hardware),
                stopping=stopping,
                delayed=base.device.type == "cuda",
                looking=looking and looking.at(adapters, text),
                settling=gauge and Settling(gauge=gauge, velocity=learner.velocity),
            )
            progress.resume() if resume else progress.restart()
            for number in progress.steps():
                losses = []
                for _ in range(settings.batch_size):
                    drawn = _draw(generator, len(pairs), shape, sides, sigmas, settings)
                    step = _step(drawn, pairs, sigmas, learner, generator)
                    terms = method.terms(step)
                    losses.append(learner.learn(terms, step.sigma))
                names = [term.name for term in terms]
                progress.note(number, names, torch.stack(losses).mean(0))
                learner.update()
                progress.update_done(number)
            return progress.finish()
        finally:
            adapters.remove()


def _prompts(pairs: Sequence[Example], looking: Looking | None) -> list[str]:
    """List the prompts of examples, and those of the rows that are sure to be rendered."""
    shown = looking.prompts if looking else ()
    return [*(prompt for pair in pairs for prompt in pair.prompts), *shown]


def encode_pairs(base: Base, pairs: Sequence[Example], size: Size) -> tuple[Posterior, ...]:
    """Encode every source and every target once.

    Args:
        base: the model; its VAE is off the accelerator afterwards.
        pairs: P pairs; or P single images, or prompts.
        size: that they are cropped and resized to.

    Returns:
        The posteriors of the P sources and of the P targets, float32 [P, C, h, w]; of single
        images one alone. Of prompts none: a method that learns from them makes its own latents.
    """
    sides = []
    for paths in zip(*(pair.images for pair in pairs), strict=True):
        posteriors = [base.encode(to_tensor(load_image(path, size))[None]) for path in paths]
        sides.append(
            Posterior(
                mean=torch.cat([posterior.mean for posterior in posteriors]),
                std=torch.cat([posterior.std for posterior in posteriors]),
            )
        )
    return tuple(sides)


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """Hold what chance decides in one step."""

    pair: int  # or single image, or set of prompts
    index: int  # of the inference step
    noise: Tensor
    sides: tuple[Tensor, ...]  # source and target latents; one of an image, none of prompts


def _draw(
    generator: torch.Generator,
    pairs: int,
    shape: tuple[int, int, int],
    sides: Sequence[Posterior],
    sigmas: Tensor,
    settings: Training,
) -> _Draw:
    """Draw pair, step index, noise and, where asked for, latents, always in this order."""
    pair = int(torch.randint(pairs, (), generator=generator))
    steps = settings.drawn(sigmas)
    index = int(torch.randint(steps.start, steps.stop, (), generator=generator))
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


def _step(
    drawn: _Draw,
    pairs: Sequence[Example],
    sigmas: Tensor,
    learner: Learner,
    generator: torch.Generator,
) -> Step:
    """Give a method what was drawn."""
    return Step(
        **dict(zip(("source", "target"), drawn.sides, strict=False)),
        prompts=None if drawn.sides else pairs[drawn.pair],
        noise=bring(drawn.noise, learner.device),
        sigma=float(sigmas[drawn.index]),
        path=tuple(sigmas[: drawn.index + 1].tolist()),
        velocity=learner.velocity,
        draw=lambda: float(torch.rand((), generator=generator)),
    )

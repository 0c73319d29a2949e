"""Own training: one loop over steps, whatever the method.

    loss = sum over terms of mean((v(noisy, sigma; LoRAs) - target)^2), float32, one AdamW step

Everything random (LoRA weights, pair, step index, noise, posterior, a method's own draws) comes
from one seeded CPU generator, so the same seed gives the same bytes on a CPU.
Every example has a size of its own, and with it its noise levels; a step learns from one of them.
Shape letters: T terms, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairedit.bases.base import Base, Posterior
from pairedit.bases.prompts import Prompts
from pairedit.data.examples import Example, Pair
from pairedit.data.images import load_images, to_tensor
from pairedit.data.masks import load_mask, to_latents
from pairedit.data.shapes import Sizing, usual
from pairedit.learner import Learner, inside
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
    shown = encode_pairs(base, pairs, settings.size)
    sizes = dict.fromkeys(one.size for one in shown)
    grids = _grids(base, [*sizes, *(looking.sizes if looking else ())], settings)
    first = _prompts(pairs, looking)
    text = Prompts(base, [*grids.values()], settings.guidance_scale, first=first)
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
                about=describe_run(method, pairs, _settled(settings, sizes), base.hardware),
                stopping=stopping,
                delayed=base.device.type == "cuda",
                looking=looking and looking.at(adapters, text),
                settling=gauge and Settling(gauge=gauge, velocity=learner.velocity),
            )
            progress.resume() if resume else progress.restart()
            for number in progress.steps():
                drawn = _draw(generator, base, shown, grids, settings)
                step = _step(drawn, pairs, learner, generator)
                terms = inside(method.terms(step), shown[drawn.pair].mask, method.roles[-1])
                losses = learner.learn(terms, step.sigma)
                progress.note(number, [term.name for term in terms], losses)
                learner.update()
                progress.update_done(number)
            return progress.finish()
        finally:
            adapters.remove()


def _grids(base: Base, sizes: Iterable[Size], settings: Training) -> dict[Size, Tensor]:
    """Return the noise levels of every size, float32 [steps + 1] each."""
    return {size: base.sigmas(size, settings.num_inference_steps) for size in sizes}


def _prompts(pairs: Sequence[Example], looking: Looking | None) -> list[str]:
    """List the prompts of examples, and those of the rows that are sure to be rendered."""
    shown = looking.prompts if looking else ()
    return [*(prompt for pair in pairs for prompt in pair.prompts), *shown]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Hold one example as the model sees it."""

    size: Size
    # float32 [1, C, h, w]: of a pair source and target, of an image one. Of prompts none: a method
    # that learns from them makes its own latents.
    sides: tuple[Posterior, ...]
    mask: Tensor | None = None  # float32 [1, h, w] in [0, 1]: where the edit may act


def encode_pairs(base: Base, pairs: Sequence[Example], sizing: Sizing) -> list[Encoded]:
    """Encode every source and every target once.

    Args:
        base: the model; its VAE is off the accelerator afterwards.
        pairs: pairs; or single images, or prompts.
        sizing: see `load_image`; both sides of a pair have the size of its source.
    """
    shown = []
    for pair in pairs:
        images = load_images(pair.images, sizing) if pair.images else []
        size = images[0].size[::-1] if images else usual(sizing)
        shape = base.latent_shape(size)  # a bad size is refused before anything is encoded
        sides = tuple(base.encode(to_tensor(image)[None]) for image in images)
        mask = None
        if isinstance(pair, Pair) and pair.mask:
            free = load_mask(pair.mask, pair.source, sizing)
            mask = to_latents(free, shape[1:]).to(base.device)
        shown.append(Encoded(size=size, sides=sides, mask=mask))
    return shown


def _settled(settings: Training, sizes: Iterable[Size]) -> Training:
    """Name the one size of a training that has no other: how it was found makes no difference."""
    first, *others = sizes
    return settings if others else replace(settings, size=first)


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """Hold what chance decides in one step."""

    pair: int  # or single image, or set of prompts
    path: tuple[float, ...]  # the noise levels of a run down to the one that is drawn
    noise: Tensor
    sides: tuple[Tensor, ...]  # source and target latents; one of an image, none of prompts


def _draw(
    generator: torch.Generator,
    base: Base,
    shown: Sequence[Encoded],
    grids: Mapping[Size, Tensor],
    settings: Training,
) -> _Draw:
    """Draw pair, step index, noise and, where asked for, latents, always in this order."""
    pair = int(torch.randint(len(shown), (), generator=generator))
    size = shown[pair].size
    steps = settings.drawn(grids[size])
    index = int(torch.randint(steps.start, steps.stop, (), generator=generator))
    shape = base.latent_shape(size)
    # Differs from the published code: fresh noise each step instead of 31 fixed seeds.
    noise = torch.randn(shape, generator=generator)
    clean = []
    for side in shown[pair].sides:
        latent = side.mean[0]
        if settings.latents == "sample":
            spread = torch.randn(shape, generator=generator).to(latent.device)
            latent = latent + side.std[0] * spread
        clean.append(latent)
    path = tuple(grids[size][: index + 1].tolist())
    return _Draw(pair=pair, path=path, noise=noise, sides=tuple(clean))


def _step(
    drawn: _Draw,
    pairs: Sequence[Example],
    learner: Learner,
    generator: torch.Generator,
) -> Step:
    """Give a method what was drawn."""
    return Step(
        **dict(zip(("source", "target"), drawn.sides, strict=False)),
        prompts=None if drawn.sides else pairs[drawn.pair],
        noise=bring(drawn.noise, learner.device),
        sigma=drawn.path[-1],
        path=drawn.path,
        velocity=learner.velocity,
        draw=lambda: float(torch.rand((), generator=generator)),
    )

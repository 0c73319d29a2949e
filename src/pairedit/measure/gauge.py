"""Own the quick measures by which a training with `stop=auto` sees that more steps bring nothing.

    a probe reads the edit   its change at scale `SCALE` on `SEEDS`, drawn in few steps
    else                     |v(s) - v| / |v|, how far the LoRA moves the model's prediction, at
                             noisy versions of what is learnt from

Both ask for predictions only, through the training's own LoRAs, and draw nothing from its
generator: a training that stops ends with the bytes of one that was asked for as many steps.
Shape letters: C latent channels, h and w latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from pairedit.bases.base import Base
from pairedit.data.examples import Example
from pairedit.data.images import load_image, to_tensor
from pairedit.flow import euler
from pairedit.measure.readers import Instrument
from pairedit.runs.settling import Gauge
from pairedit.settings import Training, step_of
from pairedit.train import encode_pairs

# (noisy [C, h, w], sigma, prompt, scales) -> velocity [C, h, w], as in `methods.Step`.
VelocityOf = Callable[[Tensor, float, str, Mapping[str, float]], Tensor]

SCALE = 0.5
SEEDS = (500, 501)  # of the trials of use: neither those of previews nor of evaluations
LEVEL = 0.6  # the noise level at which the slider sets in, or its size is taken
STRIDE = 4  # of four inference steps one is taken
MOST = 3  # images, or prompts, that it is taken of


def size_gauge(base: Base, examples: Sequence[Example], settings: Training, role: str) -> Gauge:
    """Measure how far a LoRA moves the model's predictions.

    Args:
        base: the model.
        examples: what is learnt from.
        settings: of the training.
        role: the LoRA.
    """
    few = examples[:MOST]
    cases = []
    for number, (example, seen) in enumerate(
        zip(few, encode_pairs(base, few, settings.size), strict=True)
    ):
        sigmas = base.sigmas(seen.size, settings.num_inference_steps)
        # Prompts have no image to begin with.
        sigma = float(sigmas[step_of(LEVEL, sigmas) if seen.sides else 0])
        noise = base.noise(SEEDS[0] + number, seen.size).to(base.device)
        noisy = (1 - sigma) * seen.sides[0].mean[0] + sigma * noise if seen.sides else noise
        cases.append((noisy, sigma, example.prompts[0]))
    plain: list[Tensor] = []

    def read(velocity: VelocityOf) -> float:
        if not plain:
            plain.extend(velocity(*case, {}) for case in cases)
        moved = [velocity(*case, {role: 1.0}) for case in cases]
        change = sum(float((m - p).square().mean()) for m, p in zip(moved, plain, strict=True))
        return (change / sum(float(p.square().mean()) for p in plain)) ** 0.5

    return Gauge(name="the size of the edit", every=25, passes=len(cases), read=read)


def probe_gauge(
    base: Base,
    pairs: Sequence[Example],
    settings: Training,
    role: str,
    probe: Instrument,
    attribute: str,
) -> Gauge:
    """Measure how far a slider moves the edited attribute, the way that the pairs do.

    Args:
        base: the model.
        pairs: at least one.
        settings: of the training, at the one size that the probe reads.
        role: the LoRA.
        probe: reads the attribute.
        attribute: the edited one.
    """
    column = probe.columns.index(attribute)
    sigmas = base.sigmas(settings.size, settings.num_inference_steps)
    grid = torch.cat([sigmas[:-1:STRIDE], sigmas[-1:]])
    start = step_of(LEVEL, grid)

    def draw(velocity: VelocityOf, latents: Tensor, scale: float, sigmas: Tensor) -> Tensor:
        scales = {role: scale} if scale else {}
        return euler(lambda x, sigma: velocity(x, float(sigma), "", scales), latents, sigmas)

    def seen(latents: Sequence[Tensor]) -> Tensor:
        images = base.decode(torch.stack(list(latents))).clamp(-1, 1).float().cpu()
        return probe.read(images, images)[:, column]

    way = _way(pairs, settings, probe, column)
    trunks: list[Tensor] = []
    before: list[Tensor] = []

    def read(velocity: VelocityOf) -> float:
        if not trunks:
            noises = [base.noise(seed, settings.size).to(base.device) for seed in SEEDS]
            trunks.extend(draw(velocity, noise, 0.0, grid[: start + 1]) for noise in noises)
            before.append(seen([draw(velocity, trunk, 0.0, grid[start:]) for trunk in trunks]))
        drawn = [draw(velocity, trunk, SCALE, grid[start:]) for trunk in trunks]
        return way * float((seen(drawn) - before[0]).mean())

    passes = len(SEEDS) * (len(grid) - 1 - start)
    return Gauge(name="the edit on two seeds", every=25, passes=passes, read=read)


def _way(pairs: Sequence[Example], settings: Training, probe: Instrument, column: int) -> float:
    """Return 1 if the pairs make more of an attribute, else -1."""
    sides = [
        torch.stack([to_tensor(load_image(path, settings.size)) for path in paths])
        for paths in zip(*(pair.images for pair in pairs), strict=True)
    ]
    before, after = (probe.read(images, sides[0])[:, column].mean() for images in sides)
    return 1.0 if after >= before else -1.0

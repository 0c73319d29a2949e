"""Own the comparison of results: the fast path against the naive one, on a few blocks.

The same weights, noise and LoRAs go through the naive path with a float32 base, the yardstick,
the naive path in bf16, and ours. Ours may be `LIMIT` times as far from the yardstick as naive
bf16 is: what remains is the order in which bf16 rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from measure import Bench
from naive import ALPHA, GUIDANCE, RANK, ROLES, SCALES, Naive
from ours import hardware, opened, random_lora
from pairedit.bases.base import velocity
from pairedit.bases.flux1.flux import Flux
from pairedit.bases.flux1.names import NAMES
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora, write_lora
from pairedit.methods import PairEdit, Step
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training
from pairedit.train import Learner
from sizes import SHALLOW, TINY, Size

LIMIT = 1.25
QUANTISED = ("fp8", "int8", "nf4")
Loras = Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]  # role: module: (A, B)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Hold one training step's inputs, float32 [C, h, w] on the device."""

    source: Tensor
    target: Tensor
    noise: Tensor
    sigma: Tensor  # float32 [], on the CPU


@dataclass(frozen=True, kw_only=True)
class Found:
    """Hold what one path made of one draw."""

    losses: Tensor  # by term
    gradient: Tensor  # of all LoRA weights


def agreement(bench: Bench) -> dict[str, Any]:
    """Compare losses, gradients, images and, quantised, velocities."""
    size = TINY if bench.device.type == "cpu" else SHALLOW
    naive = Naive(size, bench.device, exact=True)
    yardstick = Naive(size, bench.device, dtype=torch.float32, exact=True)
    yardstick.text = tuple(part.float() for part in naive.text)
    loras = {
        role: random_lora(naive.transformer, NAMES, seed=index, folded=False)
        for index, role in enumerate(ROLES)
    }
    for role, weights in loras.items():
        naive.load(role, weights)
        yardstick.load(role, weights)
    sigmas = naive.sigmas[[0, size.steps // 2, size.steps - 1]]
    draws = [_draw(size, bench.device, sigma, seed) for seed, sigma in enumerate(sigmas)]
    bench.say("naive models built")
    exact = [_naive_gradient(yardstick, draw) for draw in draws]
    plain = [_naive_gradient(naive, draw) for draw in draws]
    bench.say("naive gradients")
    model = opened(bench, size, hardware(bench, "80gb"))
    fast = _our_gradients(model, size, loras, draws)
    bench.say("our gradients")

    def errors(found: Sequence[Found], reference: Sequence[Found], part: str) -> list[float]:
        pairs = zip(found, reference, strict=True)
        return [distance(getattr(a, part), getattr(b, part)) for a, b in pairs]

    compared = {
        part: {
            "ours to float32": errors(fast, exact, part),
            "naive to float32": errors(plain, exact, part),
            "ours to naive": errors(fast, plain, part),
        }
        for part in ("losses", "gradient")
    }
    far = compared["gradient"]
    agrees = all(
        ours <= LIMIT * theirs + 1e-5
        for ours, theirs in zip(far["ours to float32"], far["naive to float32"], strict=True)
    )
    return {
        "unit": "agreement",
        "sigmas": sigmas.tolist(),
        "limit": LIMIT,
        "agrees": agrees,
        **compared,
        "images": _images(bench, size, model, naive, yardstick, loras["semantic"]),
        **_quantised(bench, size, model, draws, loras),
    }


def distance(found: Tensor, reference: Tensor) -> float:
    """Return |found - reference| / |reference|."""
    return float((found - reference).norm() / reference.norm())


def _draw(size: Size, device: torch.device, sigma: Tensor, seed: int) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    shape = (size.vae["latent_channels"], *[size.resolution // 8] * 2)
    source, target, noise = (torch.randn(shape, generator=generator).to(device) for _ in range(3))
    return Draw(source=source, target=target, noise=noise, sigma=sigma)


def _naive_gradient(naive: Naive, draw: Draw) -> Found:
    """Go through one step of the naive path."""
    losses = naive.losses(draw.source[None], draw.target[None], draw.noise[None], draw.sigma)
    sum(losses.values()).backward()
    found = Found(
        losses=torch.stack([loss.detach().cpu() for loss in losses.values()]),
        gradient=_gradient(naive.weights),
    )
    for role in ROLES:
        for weight in naive.parameters(role):
            weight.grad = None
    return found


def _our_gradients(model: Flux, size: Size, loras: Loras, draws: Sequence[Draw]) -> list[Found]:
    """Go through one step after the other as `fit` does."""
    text = model.text([""])
    model.prepare(model.sigmas(size.image, size.steps), text, GUIDANCE)
    adapters = Adapters(model)
    weights: Loras = {}
    for role in ROLES:
        generator = torch.Generator().manual_seed(0)
        adapters.add(role, rank=RANK, alpha=ALPHA, targets="attention", generator=generator)
    for role in ROLES:
        modules, parameters = adapters.weights(role), iter(adapters.parameters(role))
        weights[role] = {module: (next(parameters), next(parameters)) for module in modules}
        for module, pair in weights[role].items():
            for weight, value in zip(pair, loras[role][module], strict=True):
                weight.data.copy_(value)
    found = []
    with model.training() as run:
        learner = Learner(model, adapters, text.of, Training(guidance_scale=GUIDANCE), run)
        trained = {role: adapters.parameters(role) for role in ROLES}
        optimizer = learner.begin(trained, torch.Generator()).optimizer
        for draw in draws:
            step = Step(
                source=draw.source,
                target=draw.target,
                noise=draw.noise,
                sigma=float(draw.sigma),
                velocity=lambda *_: None,
                draw=float,
            )
            losses = learner.learn(PairEdit().terms(step), step.sigma)
            found.append(Found(losses=losses.cpu().clone(), gradient=_gradient(weights)))
            if not run.enabled:  # a replay writes over them
                optimizer.zero_grad()
    adapters.remove()
    return found


def _gradient(weights: Loras) -> Tensor:
    """Join the gradients of all weights, by role and module, float32 on the CPU."""
    return torch.cat(
        [
            weight.grad.float().flatten().cpu()
            for role in ROLES
            for _, pair in sorted(weights[role].items())
            for weight in pair
        ]
    )


def _images(
    bench: Bench,
    size: Size,
    model: Flux,
    naive: Naive,
    yardstick: Naive,
    lora: Mapping[str, tuple[Tensor, Tensor]],
) -> dict[str, float]:
    """Compare a row of images, forked and batched, with images rendered one by one."""
    path = bench.folder / "semantic.safetensors"
    folded = {module: (down, up * ALPHA / RANK) for module, (down, up) in lora.items()}
    write_lora(path, folded, {})
    fast, decode = [], model.decode
    # Before they are rounded to 8 bits.
    model.decode = lambda latents: fast.append(decode(latents).cpu()) or fast[-1]
    for _ in generate(
        model,
        sliders=[Slider(lora=read_lora(path), scales=SCALES)],
        prompts=[""],
        seeds=[0],
        rendering=Rendering(
            skip=size.skip,
            num_inference_steps=size.steps,
            guidance_scale=GUIDANCE,
            size=size.image,
        ),
    ):
        pass
    model.decode = decode
    noise = model.noise(0, size.image)[None].to(bench.device)
    ours = torch.cat(fast)
    plain, exact = (
        torch.stack([path.render(noise, scale) for scale in SCALES]) for path in (naive, yardstick)
    )
    bench.say("images")
    return {
        "edit": distance(exact[-1], exact[0]),
        "ours to float32": distance(ours, exact),
        "naive to float32": distance(plain, exact),
        "ours to naive": distance(ours, plain),
        "ours to naive, largest": float((ours - plain).abs().max()),
        "largest value": float(exact.abs().max()),
    }


def _quantised(
    bench: Bench, size: Size, model: Flux, draws: Sequence[Draw], loras: Loras
) -> dict[str, dict[str, list[float] | str]]:
    """Measure how far velocities and LoRA gradients of each precision are from those of bf16."""

    @torch.no_grad()
    def velocities(model: Flux) -> list[Tensor]:
        text = model.text([""])
        model.prepare(model.sigmas(size.image, size.steps), text, GUIDANCE)
        noisy = [draw.source + draw.sigma * draw.noise for draw in draws]
        return [
            velocity(model, latents[None], draw.sigma, text, GUIDANCE).cpu()
            for latents, draw in zip(noisy, draws, strict=True)
        ]

    def gradients(model: Flux) -> list[Tensor]:
        return [found.gradient for found in _our_gradients(model, size, loras, draws)]

    def errors(found: Sequence[Tensor], reference: Sequence[Tensor]) -> list[float]:
        return [distance(a, b) for a, b in zip(found, reference, strict=True)]

    expected = velocities(model), gradients(model)
    found, steep = {}, {}
    # A CPU knows float32 only.
    for precision in QUANTISED if bench.device.type == "cuda" else ("float32",):
        try:
            other = opened(bench, size, hardware(bench, "80gb", precision=precision))
            found[precision] = errors(velocities(other), expected[0])
            steep[precision] = errors(gradients(other), expected[1])
        except ValueError as error:  # a library is missing
            found[precision] = steep[precision] = str(error)
    return {"quantised": found, "quantised gradients": steep}

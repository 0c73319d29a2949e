"""Own training: one loop over steps, whatever the method.

    loss = sum over terms of mean((v(noisy, sigma; LoRAs) - target)^2), float32, one AdamW step

Everything random (LoRA weights, pair, step index, noise, posterior) comes from one seeded CPU
generator, so the same seed gives the same bytes on a CPU.
Shape letters: P pairs, T terms, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from tqdm import trange

from pairedit.bases.base import Posterior
from pairedit.bases.flux1.flux import Flux, Text
from pairedit.bases.flux1.place import training_blocks
from pairedit.data.examples import Contrast, Example
from pairedit.data.images import load_image, to_tensor
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import write_lora
from pairedit.lora.rows import Row
from pairedit.machine.devices import bring, make_accelerator
from pairedit.machine.graphs import EAGER, Graphs
from pairedit.methods import Method, Step, Term
from pairedit.runs.checkpoints import (
    Checkpoint,
    capture,
    finite,
    read_checkpoint,
    remove_checkpoints,
    restore,
    write_checkpoint,
)
from pairedit.runs.divergence import WINDOW, LossWatch
from pairedit.runs.folder import CHECKPOINTS
from pairedit.runs.progress import check_same
from pairedit.runs.stopping import Stopped, Stopping
from pairedit.runs.tracking import Run
from pairedit.settings import Settings

log = logging.getLogger(__name__)


def fit(
    *,
    flux: Flux,
    method: Method,
    pairs: Sequence[Example],
    settings: Settings,
    folder: Path,
    run: Run,
    metadata: Mapping[str, Any],
    accelerator: Accelerator | None = None,
    name: str = "train",
    resume: bool = False,
    stopping: Stopping | None = None,
) -> dict[str, Path]:
    """Train one method on one set of pairs, on a single image, or on prompts.

    Args:
        flux: the model, without LoRAs; it is left without.
        method: turns a step into terms.
        pairs: at least one, of the kind that the method learns from.
        settings: the numbers of the run.
        folder: receives `<role>.safetensors` for each LoRA, while training `checkpoints/`, and
            with `snapshots` files named `<role>-000200.safetensors` that have seen exactly that
            many updates.
        run: receives the loss of every step.
        metadata: JSON values for the header of the LoRA files.
        accelerator: runs the backward pass; one for the model's device by default.
        name: of the progress bar.
        resume: go on from the last checkpoint in `folder`, to the very bytes that an unbroken
            run ends with (on a CPU).
        stopping: tells after which step to save and stop.

    Returns:
        The final file of each LoRA by role.

    Raises:
        ValueError: bad targets or resolution, a loss that diverges, a LoRA part that training
            never reached, or a checkpoint of other settings or data.
        Stopped: a signal came; the state is saved.
    """
    flux.check_resolution(settings.resolution)
    accelerator = accelerator or make_accelerator(flux.device.type)
    generator = torch.Generator().manual_seed(settings.seed)
    # Prompts have no sides: a method that learns from them makes its own latents.
    sides = encode_pairs(flux, pairs, settings.resolution)
    shape = flux.latent_shape(settings.resolution)
    sigmas = flux.sigmas(settings.resolution, settings.num_inference_steps)
    text = _Prompts(flux, sigmas, settings.guidance_scale)
    text([prompt for pair in pairs for prompt in pair.prompts])
    adapters = Adapters(flux.transformer, names=flux.names, stacked=flux.hardware.fused)
    graphs = Graphs(flux.hardware.graphs and settings.batch_terms)
    stopping = stopping or Stopping()
    place = folder / CHECKPOINTS
    about = describe_run(method, pairs, settings)
    share = settings.gradient_checkpointing
    with stopping.held(), training_blocks(flux.transformer, flux.hardware, share):
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
                    fused=flux.device.type == "cuda",
                )
            )

            def save(step: int, suffix: str) -> dict[str, Path]:
                paths = {}
                for role in method.roles:
                    paths[role] = folder / f"{role}{suffix}.safetensors"
                    notes = {**metadata, "role": role, "step": step, "rank": settings.rank}
                    write_lora(paths[role], adapters.weights(role), notes, names=flux.names)
                return paths

            def keep(step: int) -> None:
                run.commit()
                notes = {
                    **about,
                    "losses": watch.state(),
                    "seconds": time.perf_counter() - started,
                }
                tensors = capture(weights, optimizer, generator)
                write_checkpoint(place, Checkpoint(step=step, tensors=tensors, notes=notes))

            def give_up(step: int, reason: str) -> NoReturn:
                """Raise; the last good weights become LoRA files, as nothing will go on here."""
                good = read_checkpoint(place, before=step - WINDOW)
                if good:
                    restore(good, weights, optimizer, generator)
                    files = save(good.step, f"-{good.step:06d}").values()
                advice = f"try learning_rate={settings.learning_rate / 4:g}"
                kept = f"; step {good.step} is kept: {', '.join(map(str, files))}" if good else ""
                raise ValueError(f"{name}: {reason} at step {step}; {advice}{kept}")

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

            def report(all_of_them: bool) -> None:
                """Log the losses that are there; a GPU works on one step while the last is read."""
                while len(waiting) > (0 if all_of_them else 1):
                    number, names, reading = waiting.popleft()
                    losses = dict(zip(names, reading.values(), strict=True))
                    loss = sum(losses.values())
                    if reason := watch.diverged(loss):
                        give_up(number, f"the loss {reason}")
                    run.log(
                        number,
                        {
                            "loss": loss,
                            **{f"loss/{name}": value for name, value in losses.items()},
                            "lr": settings.learning_rate,
                            "seconds": round(time.perf_counter() - started, 4),
                        },
                    )
                    bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

            waiting: deque[tuple[int, list[str], _Reading]] = deque()
            watch, first, started = LossWatch(), 1, time.perf_counter()
            if resume:
                last = read_checkpoint(place)
                if last:
                    check_same(place, last.notes, about)
                    restore(last, weights, optimizer, generator)
                    watch = LossWatch(**last.notes["losses"])
                    first = last.step + 1
                    started -= last.notes["seconds"]
                    log.info("%s: goes on after step %d of %d", name, last.step, settings.steps)
                run.rewind(first - 1)
            else:
                remove_checkpoints(place)
            bar = trange(
                first,
                settings.steps + 1,
                desc=name,
                unit="step",
                disable=None,
                initial=first - 1,
                total=settings.steps,
            )
            for step in bar:
                drawn = _draw(generator, len(pairs), shape, sides, settings)
                sigma = float(sigmas[drawn.index])
                terms = method.terms(
                    Step(
                        **dict(zip(("source", "target"), drawn.sides, strict=False)),
                        prompts=None if sides else pairs[drawn.pair],
                        noise=bring(drawn.noise, flux.device),
                        sigma=sigma,
                        path=tuple(sigmas[: drawn.index + 1].tolist()),
                        velocity=velocity,
                    )
                )
                found = [
                    backward(
                        flux,
                        adapters,
                        accelerator,
                        part,
                        sigma,
                        text,
                        settings.guidance_scale,
                        graphs=graphs,
                        before=lambda: optimizer.zero_grad(set_to_none=True),
                    )
                    for part in ([terms] if settings.batch_terms else [[term] for term in terms])
                ]
                waiting.append((step, [term.name for term in terms], _Reading(torch.cat(found))))
                report(all_of_them=flux.device.type != "cuda")
                if step == 1:
                    _check_reached(weights)
                optimizer.step()
                if not graphs.enabled:  # a graph writes over them
                    optimizer.zero_grad()
                due = settings.save_every and step % settings.save_every == 0
                stops = stopping.pending is not None and step < settings.steps
                if due or stops or step == settings.steps:
                    report(all_of_them=True)
                if (due or stops or step == settings.steps) and not finite(weights):
                    give_up(step, "the LoRA weights are not finite")
                if due and settings.snapshots:
                    save(step, f"-{step:06d}")
                if (due and step < settings.steps) or stops:
                    keep(step)
                if stops:
                    raise Stopped(stopping.pending, f"after step {step} of {settings.steps}")
            paths = save(settings.steps, "")
            remove_checkpoints(place)
            return paths
        finally:
            adapters.remove()


def backward(
    flux: Flux,
    adapters: Adapters,
    accelerator: Accelerator,
    terms: Sequence[Term],
    sigma: float,
    text: Callable[[Sequence[str]], Text],
    guidance_scale: float | None,
    *,
    graphs: Graphs = EAGER,
    before: Callable[[], object] = lambda: None,
) -> Tensor:
    """Add the gradients of some terms, run as one batch.

    Args:
        flux: the model.
        adapters: its LoRAs.
        accelerator: runs the backward pass.
        terms: T terms.
        sigma: noise level of all of them.
        text: encodes their prompts.
        guidance_scale: see `Flux.velocity`.
        graphs: for a GPU; a replayed graph sets the gradients instead of adding to them.
        before: takes the gradients away, which a graph is captured without.

    Returns:
        The loss of each term, float32 [T], without gradient.
    """
    rows = [Row(scales=term.scales, learns=term.learns) for term in terms]
    prompts = text([term.prompt for term in terms])
    level = torch.tensor(sigma)

    def run(noisy: Tensor, target: Tensor, *more: Tensor) -> Tensor:
        predicted = (
            flux.modulated(noisy, *more)
            if more
            else flux.velocity(noisy, level, prompts, guidance_scale)
        )
        losses = torch.stack([F.mse_loss(*pair) for pair in zip(predicted, target, strict=True)])
        accelerator.backward(losses.sum())
        return losses.detach()

    inputs = [torch.stack([getattr(term, side) for term in terms]) for side in ("noisy", "target")]
    if flux.hardware.fused:
        inputs += [prompts.tokens, flux.numbers(level, prompts, guidance_scale)]
    with adapters.rows(rows):
        return graphs.call((flux.prepared, adapters.acting(rows)), run, *inputs, before=before)


def encode_pairs(flux: Flux, pairs: Sequence[Example], resolution: int) -> tuple[Posterior, ...]:
    """Encode every source and every target once.

    Args:
        flux: the model; its VAE is off the accelerator afterwards.
        pairs: P pairs; or P single images, or prompts.
        resolution: side in px they are cropped and resized to.

    Returns:
        The posteriors of the P sources and of the P targets, float32 [P, C, h, w]; of single
        images one alone, of prompts none.
    """
    sides = []
    for paths in zip(*(pair.images for pair in pairs), strict=True):
        posteriors = [flux.encode(to_tensor(load_image(path, resolution))[None]) for path in paths]
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

    def __init__(self, flux: Flux, sigmas: Tensor, guidance_scale: float | None) -> None:
        self._flux = flux
        self._prepare = lambda text: flux.prepare(sigmas, text, guidance_scale)
        self._known: Text | None = None

    def __call__(self, prompts: Sequence[str]) -> Text:
        """Return the embeddings of some prompts as one batch."""
        known = self._known.prompts if self._known else ()
        if not set(prompts) <= set(known):
            self._known = self._flux.encode_prompt(list(dict.fromkeys([*known, *prompts])))
            self._prepare(self._known)
        return self._known.of(prompts)


class _Reading:
    """Bring numbers to the CPU without waiting for them."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers.to("cpu", non_blocking=True)
        self._there = torch.cuda.Event() if numbers.is_cuda else None
        if self._there:
            self._there.record()

    def values(self) -> list[float]:
        """Wait for them."""
        if self._there:
            self._there.synchronize()
        return self._numbers.tolist()


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


def describe_run(method: Method, examples: Sequence[Example], settings: Settings) -> dict[str, Any]:
    """Describe what a checkpoint belongs to, as JSON values."""
    named = repr(method) if is_dataclass(method) else type(method).__qualname__
    seen: dict[str, Any] = {}
    for number, example in enumerate(examples):
        if isinstance(example, Contrast):
            seen[f"prompts {number}"] = asdict(example)
        for path in example.images:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            seen[f"{path.parent.name}/{path.name}"] = digest
    about = {"method": named, "settings": asdict(settings), "examples": seen}
    return json.loads(json.dumps({**about, "torch": torch.__version__}))

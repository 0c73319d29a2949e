"""Own sampling: one Euler loop from sigma = 1 to 0, forked at `skip` into the slider's scales.

    x <- x + (sigma_next - sigma) * v(x, sigma)

LoRAs are off for the first `skip` steps, so those run once for each seed and prompt; then every
scale becomes a row of one batch. Of several LoRAs each acts from its own skip on.
Shape letters: B rows, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from pairedit.adapters import Adapters, Row
from pairedit.data import to_image
from pairedit.edits import Edit, TextToImage
from pairedit.flux import Flux, Text
from pairedit.lora import LoraFile

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Slider:
    """Hold one LoRA and its scale in every column."""

    lora: LoraFile
    scales: tuple[float, ...]
    skip: int | None = None  # first steps without it; None: as many as the run's
    unit: float = 1.0  # multiplies every scale; a calibrated slider's is one pair's worth

    @property
    def name(self) -> str:
        """Name the edit for captions: by its dataset, or by the file where that is unknown."""
        return str(self.lora.metadata.get("dataset") or self.lora.path.stem)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Hold the steps between two forks: sigma indices, and the row of each column."""

    begin: int
    end: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Hold one rendered image and its place in the grid."""

    seed: int
    prompt: str
    column: int
    scales: tuple[float, ...]  # one for each slider
    image: Image.Image


@torch.no_grad()
def euler(
    flux: Flux,
    adapters: Adapters,
    latents: Tensor,
    *,
    sigmas: Tensor,
    rows: Sequence[Row],
    text: Text,
    guidance_scale: float | None,
    progress: tqdm,
) -> Tensor:
    """Integrate latents along `sigmas`.

    Args:
        flux: the model.
        adapters: the LoRAs attached to it.
        latents: float32 [B, C, h, w] at `sigmas[0]`.
        sigmas: float32 [steps + 1], falling; a single value means no step.
        rows: the LoRAs of each of the B rows.
        text: B prompts.
        guidance_scale: see `Flux.velocity`.
        progress: moves by B at each step.

    Returns:
        float32 [B, C, h, w] at `sigmas[-1]`.
    """
    with adapters.rows(rows):
        for sigma, following in pairwise(sigmas):
            velocity = flux.velocity(latents, sigma, text, guidance_scale)
            latents = latents + (following - sigma) * velocity
            progress.update(len(rows))
    return latents


def generate(
    flux: Flux,
    *,
    sliders: Sequence[Slider],
    prompts: Sequence[str] | Mapping[int, str],
    seeds: Sequence[int],
    skip: int,
    num_inference_steps: int,
    guidance_scale: float | None,
    resolution: int,
    batch_size: int = 8,
    edit: Edit | None = None,
) -> Iterator[Sample]:
    """Render every prompt, seed and scale.

    Args:
        flux: the model, without LoRAs; it is left without.
        sliders: LoRAs that act together, with equally many scales; none renders the base model.
        prompts: at least one, for every seed; or one by seed.
        seeds: at least one; a seed starts every prompt and scale from the same noise.
        skip: the first `skip` steps run without the sliders that have no skip of their own;
            0 <= skip < num_inference_steps.
        num_inference_steps: Euler steps.
        guidance_scale: see `Flux.velocity`.
        resolution: side of the images in px.
        batch_size: rows in one forward pass.
        edit: where the run starts; the seed's noise by default.

    Yields:
        Images ordered by prompt, then seed, then column.

    Raises:
        ValueError: a slider that does not fit the model, or scales of unequal number.
    """
    flux.check_resolution(resolution)
    columns = list(zip(*(slider.scales for slider in sliders), strict=True)) or [()]
    names = [f"slider_{index}" for index in range(len(sliders))]
    skips = [skip if slider.skip is None else slider.skip for slider in sliders]
    forks = [*(sorted(set(skips)) or [skip]), num_inference_steps]

    def row(column: tuple[float, ...], begin: int) -> Row:
        """Switch on the sliders that act from step `begin`; those at scale 0 cost nothing."""
        placed = zip(names, sliders, column, skips, strict=True)
        return Row(
            scales={
                name: slider.unit * scale
                for name, slider, scale, first in placed
                if scale and first <= begin
            }
        )

    lanes = (
        [(prompts[seed], seed) for seed in seeds]
        if isinstance(prompts, Mapping)
        else list(product(prompts, seeds))
    )
    adapters = Adapters(flux.transformer)
    try:
        for name, slider in zip(names, sliders, strict=True):
            adapters.load(name, slider.lora)
        yield from _render(
            flux,
            adapters,
            columns=columns,
            segments=[
                Segment(begin=begin, end=end, rows=tuple(row(c, begin) for c in columns))
                for begin, end in pairwise(forks)
            ],
            lanes=lanes,
            sigmas=flux.sigmas(resolution, num_inference_steps),
            guidance_scale=guidance_scale,
            resolution=resolution,
            batch_size=batch_size,
            edit=edit or TextToImage(),
        )
    finally:
        adapters.remove()


def _render(
    flux: Flux,
    adapters: Adapters,
    *,
    columns: Sequence[tuple[float, ...]],
    segments: Sequence[Segment],
    lanes: Sequence[tuple[str, int]],
    sigmas: Tensor,
    guidance_scale: float | None,
    resolution: int,
    batch_size: int,
    edit: Edit,
) -> Iterator[Sample]:
    """Render lanes, each one prompt and seed, a few at a time; see `generate`."""
    steps, skip = len(sigmas) - 1, segments[0].begin
    known = list(dict.fromkeys(prompt for prompt, _ in lanes))
    text = flux.encode_prompt(known)
    total = len(lanes) * (skip + len(columns) * (steps - skip))
    with tqdm(total=total, desc="render", unit="pass", disable=None) as progress:
        for group in _chunks(lanes, max(1, batch_size // len(columns))):
            prompts = [known.index(prompt) for prompt, _ in group]
            start = [edit.start(flux, seed=seed, resolution=resolution) for _, seed in group]
            trunk = euler(
                flux,
                adapters,
                torch.stack(start).to(flux.device),
                sigmas=sigmas[: skip + 1],
                rows=[Row()] * len(group),
                text=text.rows(prompts),
                guidance_scale=guidance_scale,
                progress=progress,
            )
            cells = list(product(range(len(group)), range(len(columns))))
            for part in _chunks(cells, batch_size):
                latents = trunk[[lane for lane, _ in part]]
                for segment in segments:
                    latents = euler(
                        flux,
                        adapters,
                        latents,
                        sigmas=sigmas[segment.begin : segment.end + 1],
                        rows=[segment.rows[column] for _, column in part],
                        text=text.rows([prompts[lane] for lane, _ in part]),
                        guidance_scale=guidance_scale,
                        progress=progress,
                    )
                images = flux.decode(latents)
                for (lane, column), image in zip(part, images, strict=True):
                    prompt, seed = group[lane]
                    yield Sample(
                        seed=seed,
                        prompt=prompt,
                        column=column,
                        scales=columns[column],
                        image=to_image(image),
                    )


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut items into lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def column_label(scales: Sequence[float]) -> str:
    """Write the scales of one column for a caption."""
    return " | ".join(f"{scale:g}" for scale in scales) or "base"


def file_name(sample: Sample, prompt: int) -> str:
    """Name the file of one sample, without characters that a shell or Hydra would need quoted."""
    scale = "_".join(f"{scale:+g}" for scale in sample.scales) or "base"
    return f"prompt{prompt:02d}_seed{sample.seed:06d}_scale{scale}.png"


def metadata(
    sample: Sample, sliders: Sequence[Slider], settings: Mapping[str, str]
) -> dict[str, str]:
    """Gather what renders one sample again, as text for its file.

    Args:
        sample: the image.
        sliders: the LoRAs it was rendered with.
        settings: what holds for the whole run.
    """
    lines = {
        "seed": str(sample.seed),
        "prompt": sample.prompt,
        **{key: str(value) for key, value in settings.items()},
    }
    for index, (slider, scale) in enumerate(zip(sliders, sample.scales, strict=True)):
        lines[f"lora.{index}.path"] = str(Path(slider.lora.path).resolve())
        lines[f"lora.{index}.sha256"] = slider.lora.sha256
        lines[f"lora.{index}.scale"] = repr(slider.unit * scale)
        if slider.skip is not None:
            lines[f"lora.{index}.skip"] = str(slider.skip)
    return lines

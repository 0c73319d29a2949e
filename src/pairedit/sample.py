"""Own sampling: one run along the path, forked at `skip` into the slider's scales.

Sliders are off for the first `skip` steps, so those run once for each lane: a prompt with a seed,
a photograph, or both. Then every scale becomes a row of one batch. Of several sliders each acts
from its own skip on. `flow` takes the steps, `edits` says where they start and which velocity they
follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, product
from pathlib import Path
from typing import TypeVar

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from pairedit.bases.flux1.flux import Flux, Text
from pairedit.data.images import to_image
from pairedit.edits import Edit, Lane, Photo, TextToImage
from pairedit.flow import Flow
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import LoraFile
from pairedit.machine.graphs import Graphs

T = TypeVar("T")
PREPARED = 16  # prompts whose modulations fit side by side: 60 MB each on FLUX.1-dev


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
    """Hold the steps between two forks, and the sliders that are on in each column."""

    begin: int
    end: int
    scales: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Hold one rendered image and its place in the grid."""

    seed: int | None  # None: the photograph's own noise
    prompt: str
    column: int
    scales: tuple[float, ...]  # one for each slider
    image: Image.Image
    photo: Photo | None = None  # that it is an edit of


def generate(
    flux: Flux,
    *,
    sliders: Sequence[Slider],
    prompts: Sequence[str] | Mapping[int, str],
    seeds: Sequence[int | None],
    skip: int,
    num_inference_steps: int,
    guidance_scale: float | None,
    resolution: int,
    batch_size: int = 8,
    edit: Edit | None = None,
    photos: Sequence[Photo] = (),
) -> Iterator[Sample]:
    """Render every prompt, photograph, seed and scale.

    Args:
        flux: the model, without LoRAs; it is left without.
        sliders: LoRAs that act together, with equally many scales; none renders the base model.
        prompts: at least one, for every seed; or one by seed.
        seeds: at least one; a seed starts every prompt and scale from the same noise. [None] where
            the edit starts from the photographs' own noise.
        skip: the first `skip` steps run without the sliders that have no skip of their own;
            0 <= skip < num_inference_steps.
        num_inference_steps: Euler steps.
        guidance_scale: see `Flux.velocity`.
        resolution: side of the images in px.
        batch_size: rows in one forward pass.
        edit: where the run starts and what it follows; text to image by default.
        photos: what `edit` edits, at `resolution`.

    Yields:
        Images ordered by prompt (where they do not go by seed), photograph, seed and column.

    Raises:
        ValueError: a LoRA that does not fit the model, or scales of unequal number.
    """
    flux.check_resolution(resolution)
    columns = list(zip(*(slider.scales for slider in sliders), strict=True)) or [()]
    names = [f"slider_{index}" for index in range(len(sliders))]
    contents = [f"content_{index}" if photo.content else None for index, photo in enumerate(photos)]
    skips = [skip if slider.skip is None else slider.skip for slider in sliders]
    forks = [*(sorted(set(skips)) or [skip]), num_inference_steps]

    def on(column: tuple[float, ...], begin: int) -> dict[str, float]:
        """Switch on the sliders that act from step `begin`; those at scale 0 cost nothing."""
        placed = zip(names, sliders, column, skips, strict=True)
        return {
            name: slider.unit * scale
            for name, slider, scale, first in placed
            if scale and first <= begin
        }

    subjects = list(zip(photos, contents, strict=True)) or [(None, None)]
    runs = (
        ((prompts[seed], subject, seed) for subject, seed in product(subjects, seeds))
        if isinstance(prompts, Mapping)
        else product(prompts, subjects, seeds)
    )
    sigmas = flux.sigmas(resolution, num_inference_steps)
    lanes = [
        Lane(prompt=prompt, seed=seed, photo=photo, content=content)
        for prompt, (photo, content), seed in runs
    ]
    text = flux.encode_prompt(list(dict.fromkeys(lane.prompt for lane in lanes)))
    flux.prepare(sigmas, text.rows(range(min(len(text.prompts), PREPARED))), guidance_scale)
    adapters = Adapters(flux.transformer, stacked=flux.hardware.fused)
    try:
        for name, slider in zip(names, sliders, strict=True):
            adapters.load(name, slider.lora)
        for name, photo in zip(contents, photos, strict=True):
            if name:
                adapters.load(name, photo.content)
        yield from _render(
            flux,
            adapters,
            columns=columns,
            segments=[
                Segment(begin=begin, end=end, scales=tuple(on(c, begin) for c in columns))
                for begin, end in pairwise(forks)
            ],
            lanes=lanes,
            text=text,
            sigmas=sigmas,
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
    lanes: Sequence[Lane],
    text: Text,
    sigmas: Tensor,
    guidance_scale: float | None,
    resolution: int,
    batch_size: int,
    edit: Edit,
) -> Iterator[Sample]:
    """Render lanes, a few at a time; see `generate`."""
    steps, skip = len(sigmas) - 1, segments[0].begin
    graphs = Graphs(flux.hardware.graphs)
    # A row of the sheet is as many rows of the batch as its velocity has terms.
    widths = [[len(edit.blend(scales, lanes[0])) for scales in s.scales] for s in segments]
    passes = sum(sum(w) * (s.end - s.begin) for w, s in zip(widths, segments, strict=True))
    total = len(lanes) * (edit.passes(steps, skip) + passes)
    with tqdm(total=total, desc="render", unit="pass", disable=None) as progress:

        def flow(rows: Sequence[Lane]) -> Flow:
            return Flow(
                flux=flux,
                adapters=adapters,
                text=text.of([lane.prompt for lane in rows]),
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                progress=progress,
                graphs=graphs,
            )

        for group in _chunks(lanes, max(1, batch_size // len(columns))):
            if len(text.prompts) > PREPARED:
                flux.prepare(sigmas, text.of([lane.prompt for lane in group]), guidance_scale)
            trunk = edit.start(flow(group), group, skip=skip, resolution=resolution)
            cells = list(product(range(len(group)), range(len(columns))))
            for part in _chunks(cells, max(1, batch_size // max(map(max, widths)))):
                rows = [group[lane] for lane, _ in part]
                path = flow(rows)
                latents = trunk[[lane for lane, _ in part]]
                for segment in segments:
                    blends = [
                        edit.blend(segment.scales[column], lane)
                        for lane, (_, column) in zip(rows, part, strict=True)
                    ]
                    latents = path.forwards(latents, blends, segment.begin, segment.end)
                images = flux.decode(latents)
                for lane, (_, column), image in zip(rows, part, images, strict=True):
                    scales = columns[column]
                    try:
                        picture = to_image(image)
                    except ValueError as error:
                        at = ", ".join(f"{scale:g}" for scale in scales)
                        raise ValueError(f"scale {at}: {error}; try smaller scales") from error
                    yield Sample(
                        seed=lane.seed,
                        prompt=lane.prompt,
                        column=column,
                        scales=scales,
                        image=picture,
                        photo=lane.photo,
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
    return f"{lane_name(sample, prompt)}_scale{scale}.png"


def lane_name(sample: Sample, prompt: int) -> str:
    """Name what all scales of a sample have in common, such as prompt00_seed000003."""
    parts = [f"prompt{prompt:02d}"]
    if sample.photo is not None:
        parts.append(f"image-{sample.photo.name}")
    if sample.seed is not None:
        parts.append(f"seed{sample.seed:06d}")
    return "_".join(parts)


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
        "prompt": sample.prompt,
        **{key: str(value) for key, value in settings.items()},
    }
    if sample.seed is not None:
        lines["seed"] = str(sample.seed)
    if sample.photo is not None:
        lines["image"] = str(sample.photo.path.resolve())
        if sample.photo.content is not None:
            lines["content_lora.path"] = str(Path(sample.photo.content.path).resolve())
            lines["content_lora.sha256"] = sample.photo.content.sha256
    for index, (slider, scale) in enumerate(zip(sliders, sample.scales, strict=True)):
        lines[f"lora.{index}.path"] = str(Path(slider.lora.path).resolve())
        lines[f"lora.{index}.sha256"] = slider.lora.sha256
        lines[f"lora.{index}.scale"] = repr(slider.unit * scale)
        if slider.skip is not None:
            lines[f"lora.{index}.skip"] = str(slider.skip)
    return lines

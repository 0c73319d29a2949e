"""Own sampling: one run from noise to image, which forks at `skip` into the slider's scales.

Sliders are off for the first `skip` steps, so those run once for each lane: a prompt with a seed,
a photograph, or both. Then every scale becomes a row of one batch. Of several sliders each acts
from its own skip on. `flow` takes the steps, `edits` says where they start and which velocity they
follow. With `flowedit` the run along the path is a whole one, and the scales edit what it ends in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, product
from typing import TypeVar

from PIL import Image
from tqdm import tqdm

from pairedit.bases.base import Base, Text
from pairedit.bases.prompts import joined
from pairedit.data.images import from_pixels, to_pixels
from pairedit.data.names import LONGEST, plain_name
from pairedit.edits import CONTENT, Edit, Key, Lane, Photo, TextToImage, chosen, lanes_for
from pairedit.flow import Flow, Guide
from pairedit.flowedit import Finished, edits_finished, running
from pairedit.forked import Forked
from pairedit.legs import SLIDER, Leg, Slider, Way, columns_of, cut
from pairedit.local import kept
from pairedit.lora.adapters import Adapters
from pairedit.machine.devices import Readout
from pairedit.settings import Rendering, Size

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Hold what a model carries already, such as LoRAs that are being trained."""

    adapters: Adapters
    text: Callable[[Sequence[str]], Text]  # encodes prompts


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Hold one rendered image and its place in the grid."""

    seed: int | None  # None: the photograph's own noise
    prompt: str
    column: int
    scales: tuple[float, ...]  # one for each slider
    image: Image.Image  # at the size that the model draws
    photo: Photo | None = None  # that it is an edit of
    beside: tuple[Lane, ...] = ()  # its own lane, and those that ran together with it
    zero: Image.Image | None = None  # the same at scale 0, where the photograph has a mask

    @property
    def finished(self) -> Image.Image:
        """Return the image; of a photograph at its own pixels."""
        return self.image if self.photo is None else self.photo.back(self.image, self.zero)


def generate(
    base: Base,
    *,
    sliders: Sequence[Slider],
    prompts: Sequence[str] | Mapping[int, str],
    seeds: Sequence[int | None],
    rendering: Rendering,
    edit: Edit | None = None,
    photos: Sequence[Photo] = (),
    stage: Stage | None = None,
    only: Sequence[Key] | None = None,
) -> Iterator[Sample]:
    """Render every prompt, photograph, seed and scale.

    Args:
        base: the model, without LoRAs; it is left without.
        sliders: LoRAs that act together, with equally many scales; none renders the base model.
        prompts: at least one, for every seed; or one by seed.
        seeds: at least one; each is one noise for every prompt and scale. [None]: the photographs'.
        rendering: its numbers; `skip` is that of the sliders that have none of their own.
        edit: where the run starts and what it follows; text to image by default.
        photos: what `edit` edits, at the rendering's size.
        stage: what the model carries; its LoRAs are named by sliders and photographs, and stay.
        only: lanes of all that prompts, photographs and seeds make, in the order to render them.

    Yields:
        Images ordered by prompt (where they do not go by seed), photograph, seed and column.

    Raises:
        ValueError: a LoRA that does not fit the model, or scales of unequal number.
    """
    finished = edits_finished(sliders)
    stepwise = finished or any(photo.mask for photo in photos)
    columns, shown = columns_of(sliders, anchored=stepwise)
    way = Way(finished=finished, columns=columns, shown=shown)
    lanes = chosen(lanes_for(prompts, photos, seeds), only)
    edit, guide = edit or TextToImage(), _guide(base, rendering)
    set_up = stage or Stage(adapters=Adapters(base), text=base.text)
    text = set_up.text(list(dict.fromkeys([*(lane.prompt for lane in lanes), *guide.prompts])))
    groups = [(size, [*rows]) for size, rows in groupby(lanes, lambda r: r.size or rendering.size)]
    grids = {size: base.sigmas(size, rendering.num_inference_steps) for size, _ in groups}
    legs = {s: cut(sliders, columns, rendering, grids[s], stepwise=stepwise) for s in grids}
    total = sum(len(rows) * _passes(edit, rows[0], legs[s], guide, way) for s, rows in groups)
    base.prepare(joined([*grids.values()]), text, rendering.guidance_scale)
    shared = {"base": base, "adapters": set_up.adapters, "text": text, "guide": guide}
    shared["guidance_scale"] = rendering.guidance_scale
    try:
        _load(set_up.adapters, sliders, photos)
        with base.sampling() as run, _bar(total, shown=not stage) as progress:
            for size, rows in groups:
                flow = Flow(**shared, sigmas=grids[size], run=run, progress=progress)
                rendered = _render(flow, edit, rows, legs[size], size, way)
                yield from _samples(rendered, ahead=base.device.type == "cuda")
    finally:
        if not stage:
            set_up.adapters.remove()


def _guide(base: Base, rendering: Rendering) -> Guide:
    """Say how many passes a velocity takes."""
    weights = base.guidance.weights(rendering.guidance_scale)
    return Guide(weights=weights, negative_prompt=rendering.negative_prompt)


def _bar(total: int, *, shown: bool) -> tqdm:
    """Make a bar for so many passes; beside that of a training there is no room for another."""
    return tqdm(total=total, desc="render", unit="pass", disable=None if shown else True)


def _load(adapters: Adapters, sliders: Sequence[Slider], photos: Sequence[Photo]) -> None:
    """Attach the LoRAs of a rendering."""
    for index, slider in enumerate(sliders):
        if slider.lora:
            adapters.load(SLIDER.format(index), slider.lora)
    for index, photo in enumerate(photos):
        if photo.content:
            adapters.load(CONTENT.format(index), photo.content)


def _passes(edit: Edit, lane: Lane, legs: Sequence[Leg], guide: Guide, way: Way) -> int:
    """Count the passes that one lane takes: as many for each row as its velocity has terms."""
    every = range(len(way.columns))
    forked = sum(
        len(guide(edit.blend(leg.scales[column], lane))) * (leg.end - leg.begin)
        for leg in legs
        for column in (running(leg, way.zero) if way.finished else every)
    )
    fork = legs[-1].end if way.finished else legs[0].begin
    return edit.passes(legs[-1].end, fork) * len(guide(edit.blend({}, lane))) + forked


def _render(
    flow: Flow, edit: Edit, lanes: Sequence[Lane], legs: Sequence[Leg], size: Size, way: Way
) -> Iterator[list[_Drawn]]:
    """Render lanes of one size, a few rows at a time, and show their first columns."""
    together, columns = flow.base.hardware.batch_size, way.columns
    widest = max(
        len(flow.guide(edit.blend(scales, lanes[0]))) for leg in legs for scales in leg.scales
    )
    trunks = len(flow.guide(edit.blend({}, lanes[0])))
    fork = legs[-1].end if way.finished else legs[0].begin
    for group in _chunks(lanes, max(1, together // max(len(columns), trunks))):
        trunk = edit.start(flow, group, skip=fork, size=size)
        cells = list(product(range(len(group)), range(len(columns))))
        masks = [lane.free(flow.base) for lane in group]
        parts = {"legs": legs, "masks": masks}
        walk = (
            Finished(flow, edit, group, trunk, zero=way.zero, size=size, **parts)
            if way.finished
            else Forked(flow, edit, group, trunk, columns=columns, **parts)
        )
        ordered = _in_turn(cells, columns) if walk.compared or any(legs[0].local) else cells
        waiting, done, zeros = deque(cells), {}, {}
        for part in _chunks(ordered, max(1, together // widest)):
            done |= dict(zip(part, flow.base.decode(walk(part)), strict=True))
            zeros |= {lane: done[lane, k] for lane, k in part if not any(columns[k])}
            ready = []
            while waiting and waiting[0] in done:
                lane, column = cell = waiting.popleft()
                image, zero = done.pop(cell), None if masks[lane] is None else zeros[lane]
                if legs[0].local[column]:
                    image = kept(image, zeros[lane])
                if column < way.shown:
                    place = {"lane": group[lane], "column": column, "scales": columns[column]}
                    images = [
                        tuple(map(Readout, to_pixels(x))) for x in (image, zero) if x is not None
                    ]
                    ready.append(_Drawn(**place, beside=tuple(group), images=images))
            yield ready


def _in_turn(
    cells: Sequence[tuple[int, int]], columns: Sequence[tuple[float, ...]]
) -> list[tuple[int, int]]:
    """Put each lane's row at scale 0 before the rows that are compared with it."""
    return sorted(cells, key=lambda cell: (cell[0], any(columns[cell[1]])))


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """Hold what a sample is made of; its picture may still be on its way."""

    lane: Lane
    column: int
    scales: tuple[float, ...]
    beside: tuple[Lane, ...]
    images: Sequence[tuple[Readout, Readout]]  # of `to_pixels`; with a mask that at scale 0 too


def _samples(rendered: Iterator[list[_Drawn]], *, ahead: bool) -> Iterator[Sample]:
    """Finish samples; `ahead`, once the next rows have begun: a GPU works meanwhile, not after."""
    waiting: deque[list[_Drawn]] = deque()
    for drawn in rendered:
        waiting.append(drawn)
        if len(waiting) > ahead:
            yield from map(_sample, waiting.popleft())
    for drawn in waiting:
        yield from map(_sample, drawn)


def _sample(drawn: _Drawn) -> Sample:
    """Turn a decoded image into a sample, with that at scale 0 where a mask keeps it.

    Raises:
        ValueError: it is not finite.
    """
    try:
        picture, *others = [
            from_pixels(pixels.tensor(), finite=bool(finite.tensor()))
            for pixels, finite in drawn.images
        ]
    except ValueError as error:
        at = ", ".join(f"{scale:g}" for scale in drawn.scales)
        raise ValueError(f"scale {at}: {error}; try smaller scales") from error
    kept = others[0] if others else None
    if kept:
        # The latents outside are those of scale 0, but the VAE looks beyond the edge.
        picture = Image.composite(picture, kept, drawn.lane.photo.mask.drawn)
    return Sample(
        seed=drawn.lane.seed,
        prompt=drawn.lane.prompt,
        column=drawn.column,
        scales=drawn.scales,
        image=picture,
        photo=drawn.lane.photo,
        zero=kept,
        beside=drawn.beside,
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
    scale = "_".join(map(_exactly, sample.scales)) or "base"
    if len(scale) > LONGEST:  # many sliders; a file's name holds 255 bytes
        scale = plain_name(scale)
    return f"{lane_name(sample, prompt)}_scale{scale}.png"


def _exactly(scale: float) -> str:
    """Write a scale in six digits, or in as many as tell it from every other number."""
    short = f"{scale:+g}"
    return short if float(short) == scale else f"{scale:+}"


def lane_name(sample: Sample, prompt: int) -> str:
    """Name what all scales of a sample have in common, such as prompt00_seed000003."""
    parts = [f"prompt{prompt:02d}"]
    if sample.photo is not None:
        parts.append(f"image-{sample.photo.name}")
    if sample.seed is not None:
        parts.append(f"seed{sample.seed:06d}")
    return "_".join(parts)

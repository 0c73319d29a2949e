"""Own the pictures of an evaluation: a slider along its scales, those of an edit side by side."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pairedit.bases.base import Base
from pairedit.data.names import plain_names
from pairedit.lora.file import LoraFile
from pairedit.measure.evaluate import KNOWN, Result, Setting, render
from pairedit.measure.page import webp
from pairedit.measure.report import Plate
from pairedit.measure.table import comparable
from pairedit.pictures.cells import fitted
from pairedit.pictures.pairs import Band, band_of
from pairedit.pictures.sheet import Block, arrange, width_of_images
from pairedit.settings import scale_text

SHOWN = 4  # lanes of sliders side by side
SHOWN_ALONE = 8  # lanes of a single slider
DRAGGED = 6  # sliders of one edit at most whose pictures can be dragged
SHOWN_ROWS = 3  # lanes of each slider among others, along its scales
MANY = 24  # sliders, whose pictures are made smaller so that a browser opens the report
SMALL = (1000, 1000)  # px at most


def lanes_kept(edit: int, total: int) -> int:
    """Say of how many lanes the pictures at every scale are kept, to be dragged in the report.

    Args:
        edit: sliders of the same edit.
        total: sliders of all edits.
    """
    if edit == 1:
        return SHOWN_ALONE if total <= MANY else SHOWN
    return SHOWN_ROWS if edit <= DRAGGED and total <= MANY else 0


def shown_of(result: Result, lanes: int) -> Result:
    """Keep of the images of a slider that is measured what the report shows.

    Args:
        result: with all its images.
        lanes: see `lanes_kept`.
    """
    samples = {
        (lane, k): sample
        for (lane, k), sample in result.samples.items()
        if lane < lanes or (lane < SHOWN and k == result.seen.zero)
    }
    strip = webp(sheet_of_scales(result, SHOWN_ROWS))
    return replace(result, samples=samples, strip=strip)


def sized(results: Sequence[Result]) -> list[Result]:
    """Make the pictures of sliders smaller, where a report shows many of them."""
    return list(results) if len(results) <= MANY else [_smaller(result) for result in results]


def _smaller(result: Result) -> Result:
    with Image.open(io.BytesIO(result.strip)) as strip:
        if strip.width <= SMALL[0] and strip.height <= SMALL[1]:
            return result
        small = strip.convert("RGB")
    small.thumbnail(SMALL)
    return replace(result, strip=webp(small))


def by_edit(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Put the results of one edit together, in the order they come."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.subject.dataset, []).append(result)
    return groups


def sheet_of_scales(result: Result, lanes: int, title: str | None = None) -> Image.Image:
    """Show one slider at every scale; with a title, below its pairs."""
    scales = result.seen.scales
    shown = sorted({lane for lane, k in result.samples if scales[k]})[:lanes]
    plate = Plate(
        rows=[[result.samples[n, k].image for k in range(len(scales))] for n in shown],
        labels=[f"seed {result.lanes[n][0]}" for n in shown],
        captions=[f"{scale:g}" for scale in scales],
    )
    return sheet_of(plate, title, bands_of(result) if title else [])


def side_by_side(
    base: Base, group: Sequence[Result], loras: Mapping[Path, LoraFile], setting: Setting
) -> Plate:
    """Show the sliders of one edit at matched strength, rendered at exactly that scale.

    Args:
        base: the model, without LoRAs.
        group: results of one edit, on the same lanes.
        loras: their files, as read, by path.
        setting: how they were rendered.
    """
    few = replace(setting, seeds=setting.seeds[:SHOWN], prompts=setting.prompts[:1])
    places = [comparable(result) for result in group]
    scales = [[scale] for scale, _ in places]
    columns: list[list[Image.Image]] = [[] for _ in group]
    subjects = [result.subject for result in group]
    for owners, sample in render(base, subjects, loras, scales, few):
        columns[owners[0]].append(sample.image)
    first = group[0]
    bases = [first.samples[lane, first.seen.zero].image for lane in range(len(few.seeds))]
    labels = [
        f"{result.subject.label}\n{scale_text(scale)}{'' if matched else apart(result)}"
        for result, (scale, matched) in zip(group, places, strict=True)
    ]
    return Plate(
        rows=[list(row) for row in zip(bases, *columns, strict=True)],
        labels=[f"seed {seed}" for seed in few.seeds],
        captions=["base", *labels],
    )


def apart(result: Result) -> str:
    """Mark a slider that does not get as far as the others, by its verdict if that says why."""
    name = result.verdict.name
    return f" ({'weak' if name in KNOWN else name})"


def sheet_of(plate: Plate, title: str | None, bands: Sequence[Band]) -> Image.Image:
    """Draw a plate as a sheet, pairs above."""
    rows = [[fitted(image) for image in row] for row in plate.rows]
    block = Block(rows=rows, row_labels=plate.labels, column_labels=plate.captions)
    width = width_of_images([block])
    above = [[band.block(width=width, cell=rows[0][0])] for band in bands]
    return arrange([*above, [block]], title)


def bands_of(result: Result) -> list[Band]:
    """Read the pairs of a slider, at the size of its pictures, for a sheet."""
    if not result.subject.pairs:
        return []
    width, height = next(iter(result.samples.values())).image.size
    return [band_of(result.subject.pairs, (height, width))]


def sheet_paths(folder: Path, edits: Iterable[str]) -> dict[str, Path]:
    """Name the file of each edit's sheet, so that its path needs no quotes."""
    edits = list(edits)
    names = zip(edits, plain_names(edits), strict=True)
    return {edit: folder / "sheets" / f"{name}.png" for edit, name in names}

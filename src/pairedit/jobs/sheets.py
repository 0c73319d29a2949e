"""Own the sheets of an evaluation: a slider along its scales, or those of an edit side by side."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from pairedit.bases.base import Base
from pairedit.data.names import plain_names
from pairedit.lora.file import LoraFile
from pairedit.measure.evaluate import Result, Setting, render
from pairedit.measure.report import webp
from pairedit.measure.table import comparable
from pairedit.pictures.sheet import contact_sheet

SHOWN = 4  # lanes on a sheet of sliders side by side
SHOWN_ALONE = 8  # lanes on the sheet of a single slider
MANY = 24  # sliders, whose pictures are made smaller so that a browser opens the report
SMALL = (1000, 1000)  # px at most
SHOWN_ROWS = 3  # lanes on the sheets of every slider's scales


def shown_of(result: Result, *, alone: bool) -> Result:
    """Keep of the images of a slider that is measured what the report shows.

    Args:
        result: with all its images.
        alone: no other slider of its edit is measured.
    """
    samples = {
        (lane, k): sample
        for (lane, k), sample in result.samples.items()
        if lane < (SHOWN_ALONE if alone else SHOWN) and (alone or k == result.seen.zero)
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
    """Show one slider at every scale."""
    seen = result.seen
    return _sheet(
        [
            [result.samples[lane, k].image for k in range(len(seen.scales))]
            for lane in range(min(lanes, len(seen.distance)))
        ],
        result,
        [f"{scale:g}" for scale in seen.scales],
        title,
    )


def sheet_side_by_side(
    base: Base, group: Sequence[Result], loras: Mapping[Path, LoraFile], setting: Setting
) -> Image.Image:
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
        f"{result.subject.label}\n{scale:.2f}" + ("" if matched else " (weak)")
        for result, (scale, matched) in zip(group, places, strict=True)
    ]
    rows = [list(row) for row in zip(bases, *columns, strict=True)]
    return _sheet(rows, first, ["base", *labels], first.subject.dataset)


def _sheet(
    rows: Sequence[Sequence[Image.Image]],
    result: Result,
    heads: Sequence[str],
    title: str | None,
) -> Image.Image:
    """Lay rows of lanes out, named by their seeds."""
    labels = [f"seed {seed}" for seed, _ in result.lanes[: len(rows)]]
    return contact_sheet(rows, labels, heads, title)


def sheet_paths(folder: Path, edits: Iterable[str]) -> dict[str, Path]:
    """Name the file of each edit's sheet, so that its path needs no quotes."""
    edits = list(edits)
    names = zip(edits, plain_names(edits), strict=True)
    return {edit: folder / "sheets" / f"{name}.png" for edit, name in names}

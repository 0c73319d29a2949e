"""Own how samples become contact sheets: a line for each lane, or for each lane and scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from pairedit.pictures.cells import SATURATED, amplification, change_map, difference, fitted
from pairedit.pictures.pairs import Band
from pairedit.pictures.sheet import Block, Row, arrange, width_of_images
from pairedit.sample import Sample, column_label, lane_name

SHAPE = 1.6  # width of a sheet to its height, about: many lanes stand in several columns
NEAR = 0.03  # of one pair's worth: a scale so near to it counts as it, because scales are rounded


@dataclass(frozen=True, kw_only=True)
class Look:
    """Say what a sheet shows besides its samples."""

    bands: Sequence[Band] = ()  # the pairs, above
    unit: float | None = None  # the scale that is worth one pair; its column has a frame
    differences: bool = False  # below each line a map of what differs from scale 0


PLAIN = Look()


def draw_sheet(samples: Sequence[Sample], *, title: str, look: Look = PLAIN) -> Image.Image:
    """Arrange samples as a captioned sheet: a line for each lane, a column a scale."""
    lanes = lanes_of(samples)
    columns = [column_label(sample.scales) for sample in lanes[0]]
    if lanes[0][0].photo is not None:
        columns = ["reconstruction" if label == "base" else label for label in columns]
    return _arrange(lanes, _lane_labels(lanes), columns, title, look)


def draw_grid(
    samples: Sequence[Sample], names: Sequence[str], *, across: int, look: Look = PLAIN
) -> Image.Image:
    """Arrange the samples of two sliders as a captioned sheet: one across, the other down."""
    lanes = lanes_of(samples)
    lines = [
        (label, lane[start : start + across])
        for label, lane in zip(_lane_labels(lanes), lanes, strict=True)
        for start in range(0, len(lane), across)
    ]
    return _arrange(
        [line for _, line in lines],
        [f"{label} · {names[1]} {line[0].scales[1]:g}" for label, line in lines],
        [f"{names[0]} {sample.scales[0]:g}" for sample in lines[0][1]],
        " x ".join(names),
        look,
        together=len(lines) // len(lanes),
    )


def draw_snapshots(
    shots: Mapping[int, Sequence[Sample]], *, title: str, look: Look = PLAIN
) -> Image.Image:
    """Arrange the same samples of several steps of a training: for each lane a line a step."""
    lanes = {step: lanes_of(samples) for step, samples in shots.items()}
    first = next(iter(lanes.values()))
    captions = _lane_labels(first)
    lines = [
        (f"{captions[number]} · step {step}" if len(first) > 1 else f"step {step}", found[number])
        for number in range(len(first))
        for step, found in lanes.items()
    ]
    columns = [column_label(sample.scales) for sample in first[0]]
    if len(first) == 1:
        title = f"{title} · {captions[0]}"
    labels = [label for label, _ in lines]
    return _arrange([line for _, line in lines], labels, columns, title, look, together=len(lanes))


def draw_emblem(samples: Sequence[Sample], unit: float | None) -> Image.Image:
    """Show what a slider does in a picture that is still told when small: 0 and one more scale.

    Args:
        samples: as for `draw_sheet`; the first two lanes are shown.
        unit: the scale that is worth one pair; None for the last.
    """
    rows = []
    for lane in lanes_of(samples)[:2]:
        zero = min(lane, key=lambda sample: sum(map(abs, sample.scales)))
        at = _framed(lane, Look(unit=unit))
        rows.append([zero.image, lane[-1 if at is None else at].image])
    width, height = rows[0][0].size
    emblem = Image.new("RGB", (2 * width, len(rows) * height))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            emblem.paste(image, (x * width, y * height))
    return emblem


def lanes_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Group samples, ordered as `generate` yields them, by lane."""
    grouped = groupby(samples, key=lambda sample: (sample.prompt, lane_name(sample, 0)))
    return [list(lane) for _, lane in grouped]


def _arrange(
    lines: Sequence[Sequence[Sample]],
    labels: Sequence[str],
    columns: Sequence[str],
    title: str,
    look: Look,
    together: int = 1,
) -> Image.Image:
    """Draw lines of samples; photographs stand in a first column of their own.

    Args:
        lines: at least one, with a sample for each column.
        labels: of the lines.
        columns: labels of the columns.
        title: of the sheet.
        look: what is shown besides.
        together: so many lines in turn are not torn apart.
    """
    photo, framed = lines[0][0].photo is not None, _framed(lines[0], look)
    if framed is not None:
        columns = [*columns[:framed], f"{columns[framed]} = one pair", *columns[framed + 1 :]]
        framed += photo
    rows = [
        (label, [fitted(image) for image in _pictures(line)])
        for label, line in zip(labels, lines, strict=True)
    ]
    if look.differences:
        rows, together = _with_changes(rows, lines), 2 * together
    heads = [*["photograph"] * photo, *columns]
    shapes: dict[tuple[int, int], list[tuple[str, Row]]] = {}
    for start in range(0, len(rows), together):
        shapes.setdefault(rows[start][1][-1].size, []).extend(rows[start : start + together])
    blocks = [_wrapped(alike, heads, framed, together) for alike in shapes.values()]
    width = max(width_of_images(line) for line in blocks)
    above = [[band.block(width=width, cell=rows[0][1][-1])] for band in look.bands]
    prompts = {line[0].prompt for line in lines}
    words = [title, *(prompts if len(prompts) == 1 else ())]
    return arrange([*above, *blocks], " · ".join(filter(None, words)))


def _pictures(line: Sequence[Sample]) -> list[Image.Image]:
    """List what a line shows: a photograph stands before its edits."""
    photo = line[0].photo
    return [*([photo.image] if photo else []), *(sample.image for sample in line)]


def _framed(line: Sequence[Sample], look: Look) -> int | None:
    """Find the column of one slider that is worth one pair."""
    if look.unit is None:
        return None
    near = [
        abs(sample.scales[0] / look.unit - 1) if len(sample.scales) == 1 else math.inf
        for sample in line
    ]
    best = min(range(len(near)), key=near.__getitem__)
    return best if near[best] <= NEAR else None


def _with_changes(
    rows: Sequence[tuple[str, Row]], lines: Sequence[Sequence[Sample]]
) -> list[tuple[str, Row]]:
    """Put below each row a map of what each of its pictures changes of that at scale 0."""
    maps = []
    for line in lines:
        zero = next((sample.image for sample in line if not any(sample.scales)), None)
        maps.append([difference(zero, s.image) if zero and any(s.scales) else None for s in line])
    shown = [gray for row in maps for gray in row if gray] or [Image.new("L", (1, 1))]
    louder = amplification(shown, SATURATED)
    words = "change" + f" x {louder}" * (louder > 1)
    found: list[tuple[str, Row]] = []
    for (label, row), line in zip(rows, maps, strict=True):
        below = [gray and fitted(change_map(gray, louder)) for gray in line]
        found.append((label, row))
        found.append((words, [*[None] * (len(row) - len(below)), *below]))
    return found


def _wrapped(
    rows: Sequence[tuple[str, Row]], heads: Sequence[str], framed: int | None, together: int
) -> list[Block]:
    """Make blocks of rows, beside each other where they are many."""
    high = sum(row[-1].height for _, row in rows if row[-1])
    wide = sum(image.width for image in rows[0][1] if image)
    units = len(rows) // together
    across = min(units, max(1, round(math.sqrt(SHAPE * high / wide))))
    per = together * math.ceil(units / across)
    return [
        Block(
            rows=[row for _, row in rows[start : start + per]],
            row_labels=[label for label, _ in rows[start : start + per]],
            column_labels=heads,
            framed=framed,
        )
        for start in range(0, len(rows), per)
    ]


def _lane_labels(lanes: Sequence[Sequence[Sample]]) -> list[str]:
    """Caption each lane by photograph and seed, and by its prompt where there are several."""
    several = len({lane[0].prompt for lane in lanes}) > 1
    captions = []
    for sample in (lane[0] for lane in lanes):
        parts = [sample.prompt] if several else []
        if sample.photo is not None:
            parts.append(sample.photo.name)
        if sample.seed is not None:
            parts.append(f"seed {sample.seed}")
        captions.append(" · ".join(parts))
    return captions

"""Own how samples become contact sheets: a line for each lane, or for each lane and scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from PIL import Image

from pairedit.pictures.sheet import contact_sheet
from pairedit.sample import Sample, column_label, lane_name


def draw_sheet(samples: Sequence[Sample], *, title: str) -> Image.Image:
    """Arrange samples as a captioned sheet: a line for each lane, a column a scale."""
    lanes = lanes_of(samples)
    columns = [column_label(sample.scales) for sample in lanes[0]]
    if lanes[0][0].photo is not None:
        columns = ["reconstruction" if label == "base" else label for label in columns]
    return _arrange(lanes, _lane_labels(lanes), columns, title)


def draw_grid(samples: Sequence[Sample], names: Sequence[str], *, across: int) -> Image.Image:
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
    )


def draw_snapshots(shots: Mapping[int, Sequence[Sample]], *, title: str) -> Image.Image:
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
    return _arrange([line for _, line in lines], [label for label, _ in lines], columns, title)


def lanes_of(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Group samples, ordered as `generate` yields them, by lane."""
    grouped = groupby(samples, key=lambda sample: (sample.prompt, lane_name(sample, 0)))
    return [list(lane) for _, lane in grouped]


def _arrange(
    lines: Sequence[Sequence[Sample]], labels: Sequence[str], columns: Sequence[str], title: str
) -> Image.Image:
    """Draw lines of samples; photographs stand in a first column of their own."""
    photos = [[line[0].photo.image] if line[0].photo else [] for line in lines]
    prompts = {line[0].prompt for line in lines}
    return contact_sheet(
        [[*photo, *(s.image for s in line)] for photo, line in zip(photos, lines, strict=True)],
        labels,
        [*("photograph" for _ in photos[0]), *columns],
        " · ".join(filter(None, [title, *(prompts if len(prompts) == 1 else ())])),
    )


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

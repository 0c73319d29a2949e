"""Own an evaluation: render sliders together, read the pictures, and measure.

Sliders with the same `skip` share the steps before it and the image at scale 0. Each seed runs
once up to `skip`. Then it forks into one row for each slider and scale. Sliders that edit the
finished picture share all of it, whatever their `skip` is.

Shapes: N lanes (seeds x prompts), K scales, P pairs, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pairedit.bases.base import Base
from pairedit.data.images import load_image, to_tensor
from pairedit.lora.file import LoraFile
from pairedit.measure.evidence import Evidence, Measure, collect
from pairedit.measure.intervals import Summary, summarise
from pairedit.measure.measures import MEASURES
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Subject, Unit
from pairedit.measure.unit import unit_of
from pairedit.measure.verdict import NO_PAIRS, NOT_ASKED, Verdict, judge, not_known
from pairedit.runs.resume import ANY_RUN
from pairedit.sample import Sample, Slider, generate
from pairedit.settings import Rendering, Size

TOGETHER = 8  # sliders whose images are in memory at once
KNOWN = ("works", "weak")  # verdicts on an edit that was seen to happen


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Hold how images are rendered, whatever the slider."""

    prompts: Sequence[str]
    seeds: Sequence[int]
    rendering: Rendering  # its `skip` is each slider's own


@dataclass(frozen=True, kw_only=True)
class Result:
    """Hold what was found about one slider."""

    subject: Subject
    seen: Evidence
    samples: Mapping[tuple[int, int], Sample]  # by lane and scale
    summaries: Mapping[Measure, Summary]
    missing: Mapping[Measure, str]  # those that could not run, and why
    verdict: Verdict
    unit: Unit | None = None  # the scale that is worth one pair, as far as it is known
    lanes: Sequence[tuple[int, str]] = ()  # seed and prompt of each
    strip: bytes = b""  # a few lanes along the scales, as WebP; for a report

    @property
    def recommended(self) -> Unit | None:
        """Return the scale that is worth one pair: the one that is said, marked and noted.

        Other people may have been read for it. None where it is not known, or nothing to use: the
        edit does not happen, or the person is lost there.
        """
        unit, lost = self.subject.unit or self.unit, self.verdict.lost_at
        if unit is None or self.verdict.name not in KNOWN:
            return None
        return unit if lost is None or unit.scale < lost else None

    def advise(self, lora: str = "lora=FILE", train: str = ANY_RUN) -> str:
        """Say what to do; see `Verdict.advise`. Other people may have told a scale to recommend."""
        short = self.verdict.short and self.recommended is None
        return replace(self.verdict, short=short).advise(lora, train)

    @property
    def usable(self) -> bool:
        """Say whether it works at some scale that is known: where there are pairs, at their worth.

        Of other scales nobody has seen that they are good.
        """
        known = self.recommended is not None or "pairs" not in self.seen.has
        return known and self.verdict.name == "works"


def render(
    base: Base,
    subjects: Sequence[Subject],
    loras: Mapping[Path, LoraFile],
    scales: Sequence[Sequence[float]],
    setting: Setting,
) -> Iterator[tuple[list[int], Sample]]:
    """Render each slider at its own scales and, once for all, at scale 0.

    Args:
        base: the model, without LoRAs.
        subjects: the sliders; those of one `company` run together.
        loras: their files, as read, by path.
        scales: of each slider; 0 is rendered where any slider of its group asks for it.
        setting: how to render.

    Yields:
        The subjects (by position) that an image belongs to, and the image, whose `scales` hold
        the one scale that it shows.
    """
    for company in dict.fromkeys(subject.company for subject in subjects):
        members = [i for i, subject in enumerate(subjects) if subject.company == company]
        columns = [(i, scale) for i in members for scale in scales[i] if scale]
        asks = [i for i in members if 0.0 in scales[i]]
        if asks:
            columns.insert(0, (-1, 0.0))
        for sample in generate(
            base,
            sliders=[
                Slider(
                    lora=loras[subjects[i].path],
                    scales=tuple(scale if owner == i else 0.0 for owner, scale in columns),
                    skip=subjects[i].skip,
                    local=subjects[i].local,
                    lean=subjects[i].lean,
                    flowedit=subjects[i].flowedit,
                )
                for i in members
            ],
            prompts=setting.prompts,
            seeds=setting.seeds,
            rendering=setting.rendering,
        ):
            owner, scale = columns[sample.column]
            shown = Sample(
                seed=sample.seed,
                prompt=sample.prompt,
                column=sample.column,
                scales=(scale,),
                image=sample.image,
            )
            yield (asks if owner < 0 else [owner]), shown


def evaluate(
    base: Base,
    subjects: Sequence[Subject],
    loras: Mapping[Path, LoraFile],
    *,
    scales: Sequence[float],
    setting: Setting,
    readers: Mapping[str, Instrument],
    missing: Mapping[str, str],
    match: float = 0.5,
    keep: Callable[[Result], Result] = lambda result: result,
) -> list[Result]:
    """Render and measure sliders, a few at a time: memory does not grow with their number.

    Args:
        base: the model, without LoRAs.
        subjects: at least one slider.
        loras: their files, as read, by path.
        scales: the same for every slider; 0 is added.
        setting: how to render.
        readers: instruments by name.
        missing: why others are not open, by name.
        match: share of one pair's worth at which sliders are compared.
        keep: called with each result while its images are there; returns what is kept of it.
    """
    results: dict[int, Result] = {}
    for places in _together(subjects):
        few, size = [subjects[place] for place in places], setting.rendering.size
        ordered, found = render_all(base, few, loras, scales=scales, setting=setting)
        for place, subject in zip(places, few, strict=True):
            samples = found.pop(0)
            result = measure_slider(subject, samples, ordered, size, readers, missing, match)
            results[place] = keep(result)
    return [results[place] for place in range(len(subjects))]


def _together(subjects: Sequence[Subject]) -> Iterator[list[int]]:
    """Yield the places of sliders that are rendered together, those of one company side by side."""
    order = [
        place
        for company in dict.fromkeys(subject.company for subject in subjects)
        for place, subject in enumerate(subjects)
        if subject.company == company
    ]
    for start in range(0, len(order), TOGETHER):
        yield order[start : start + TOGETHER]


def render_all(
    base: Base,
    subjects: Sequence[Subject],
    loras: Mapping[Path, LoraFile],
    *,
    scales: Sequence[float],
    setting: Setting,
) -> tuple[tuple[float, ...], list[dict[tuple[int, int], Sample]]]:
    """Render sliders at the same scales and 0; see `evaluate`.

    Returns:
        The scales, ascending, and the images of each slider by lane and scale.
    """
    ordered = tuple(sorted({0.0, *scales}))
    found: list[dict[tuple[int, int], Sample]] = [{} for _ in subjects]
    lanes = {(p, s): n for n, (p, s) in enumerate(_lanes(setting))}
    for owners, sample in render(base, subjects, loras, [ordered] * len(subjects), setting):
        for owner in owners:
            place = lanes[sample.prompt, sample.seed], ordered.index(sample.scales[0])
            found[owner][place] = sample
    return ordered, found


def measure_slider(
    subject: Subject,
    samples: Mapping[tuple[int, int], Sample],
    scales: tuple[float, ...],
    size: Size,
    readers: Mapping[str, Instrument],
    missing: Mapping[str, str],
    match: float = 0.5,
) -> Result:
    """Measure one slider on images that are there; see `evaluate`.

    Args:
        subject: the slider.
        samples: by lane and scale, complete.
        scales: ascending, with 0 among them.
        size: that the pairs are brought to.
        readers: see `evaluate`.
        missing: see `evaluate`.
        match: see `evaluate`.
    """
    seen = witness(subject, samples, scales, size, readers, match)
    able = [measured for measured in MEASURES.values() if measured.needs <= seen.has]
    return Result(
        subject=subject,
        seen=seen,
        samples=samples,
        summaries={measured: summarise(measured, seen) for measured in able},
        missing={
            measured: _lack(measured, seen, missing)
            for measured in MEASURES.values()
            if measured not in able
        },
        verdict=judge(seen),
        unit=unit_of(seen),
        lanes=[
            (samples[lane, 0].seed, samples[lane, 0].prompt) for lane in range(len(seen.distance))
        ],
    )


def witness(
    subject: Subject,
    samples: Mapping[tuple[int, int], Sample],
    scales: tuple[float, ...],
    size: Size,
    readers: Mapping[str, Instrument],
    match: float = 0.5,
) -> Evidence:
    """Read the images of one slider and of its pairs; see `measure_slider`."""
    count = len(samples) // len(scales)
    images = torch.stack(
        [
            torch.stack([to_tensor(samples[lane, k].image) for k in range(len(scales))])
            for lane in range(count)
        ]
    )
    sides = [
        [to_tensor(load_image(path, size)) for path in paths]
        for paths in ([p.source for p in subject.pairs], [p.target for p in subject.pairs])
    ]
    before, after = (torch.stack(side) if side else images[:0, 0] for side in sides)
    return collect(
        images,
        scales=scales,
        before=before,
        after=after,
        readers=readers,
        attribute=subject.attribute,
        match=match,
    )


def _lack(measured: Measure, seen: Evidence, missing: Mapping[str, str]) -> str:
    """Say why a measure cannot run."""
    known: dict[str, Any] = {
        "pairs": NO_PAIRS,
        "attribute": "no probe reads the edited attribute",
        **(dict.fromkeys(("probe", "attribute"), not_known(seen)) if seen.unread else {}),
        **missing,
    }
    # By name besides: the order of a set differs from process to process.
    lacking = sorted(measured.needs - seen.has, key=lambda need: (need not in missing, need))
    return known.get(lacking[0], NOT_ASKED.format(lacking[0]))


def _lanes(setting: Setting) -> list[tuple[str, int]]:
    return [(prompt, seed) for prompt in setting.prompts for seed in setting.seeds]

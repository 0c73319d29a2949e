"""Own an evaluation: sliders are rendered together, read, and measured.

Sliders of one `skip` share the steps before it and the image at scale 0: every seed is run once up
to there, then forks into one row for each slider and scale.

Shapes: N lanes (seeds x prompts), K scales, P pairs, H and W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairedit.bases.base import Base
from pairedit.data.examples import Pair
from pairedit.data.images import load_image, to_tensor
from pairedit.lora.file import LoraFile
from pairedit.measure import measures  # noqa: F401, fills the registry
from pairedit.measure.evidence import Evidence, Measure, Reading
from pairedit.measure.intervals import Summary, summarise
from pairedit.measure.measures import MEASURES
from pairedit.measure.readers import BATCH, Missing, Read, Reader
from pairedit.measure.verdict import Verdict, judge
from pairedit.mini.attributes import ATTRIBUTES, check_attribute
from pairedit.sample import Sample, Slider, generate
from pairedit.settings import Rendering, Size

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Name one slider to evaluate and what its pairs show."""

    lora: LoraFile
    label: str  # of its row among others on the same edit: the method, or the job's folder
    dataset: str
    pairs: Sequence[Pair]
    attribute: str | None  # None: the one that the pairs move most, where a probe reads them
    skip: int | float  # see `Rendering.skip`


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
    summaries: Mapping[str, Summary]  # by measure
    missing: Mapping[str, str]  # measures that could not run, and why
    verdict: Verdict


def render(
    base: Base, subjects: Sequence[Subject], scales: Sequence[Sequence[float]], setting: Setting
) -> Iterator[tuple[list[int], Sample]]:
    """Render each slider at its own scales and, once for all, at scale 0.

    Args:
        base: the model, without LoRAs.
        subjects: the sliders; those of one `skip` run together.
        scales: of each slider; 0 is rendered where any slider of its group asks for it.
        setting: how to render.

    Yields:
        The subjects (by position) that an image belongs to, and the image, whose `scales` hold
        the one scale that it shows.
    """
    for skip in dict.fromkeys(subject.skip for subject in subjects):
        members = [i for i, subject in enumerate(subjects) if subject.skip == skip]
        columns = [(i, scale) for i in members for scale in scales[i] if scale]
        asks = [i for i in members if 0.0 in scales[i]]
        if asks:
            columns.insert(0, (-1, 0.0))
        for sample in generate(
            base,
            sliders=[
                Slider(
                    lora=subjects[i].lora,
                    scales=tuple(scale if owner == i else 0.0 for owner, scale in columns),
                )
                for i in members
            ],
            prompts=setting.prompts,
            seeds=setting.seeds,
            rendering=replace(setting.rendering, skip=skip),
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
    *,
    scales: Sequence[float],
    setting: Setting,
    readers: Mapping[str, Read],
    missing: Mapping[str, str],
    match: float = 0.5,
) -> list[Result]:
    """Render and measure sliders.

    Args:
        base: the model, without LoRAs.
        subjects: at least one slider.
        scales: the same for every slider; 0 is added.
        setting: how to render.
        readers: open networks by name.
        missing: why others are not open, by name.
        match: share of one pair's worth at which sliders are compared.
    """
    ordered = tuple(sorted({0.0, *scales}))
    found: list[dict[tuple[int, int], Sample]] = [{} for _ in subjects]
    lanes = {(p, s): n for n, (p, s) in enumerate(_lanes(setting))}
    for owners, sample in render(base, subjects, [ordered] * len(subjects), setting):
        for owner in owners:
            place = lanes[sample.prompt, sample.seed], ordered.index(sample.scales[0])
            found[owner][place] = sample
    return [
        examine(subject, samples, ordered, setting.rendering.size, readers, missing, match)
        for subject, samples in zip(subjects, found, strict=True)
    ]


def examine(
    subject: Subject,
    samples: Mapping[tuple[int, int], Sample],
    scales: tuple[float, ...],
    size: Size,
    readers: Mapping[str, Read],
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
    seen = gather(
        images,
        scales=scales,
        before=before,
        after=after,
        readers=readers,
        attribute=subject.attribute,
        match=match,
    )
    able = {name: m for name, m in MEASURES.items() if m.needs <= seen.has}
    summaries = {name: summarise(measured, seen) for name, measured in able.items()}
    return Result(
        subject=subject,
        seen=seen,
        samples=samples,
        summaries=summaries,
        missing={
            name: _lack(measured, seen, missing)
            for name, measured in MEASURES.items()
            if name not in able
        },
        verdict=judge(seen),
    )


def gather(
    images: Tensor,
    *,
    scales: tuple[float, ...],
    before: Tensor,
    after: Tensor,
    readers: Mapping[str, Read],
    attribute: str | None = None,
    match: float = 0.5,
) -> Evidence:
    """Read images of one slider and of its pairs.

    Args:
        images: float32 [N, K, 3, H, W] in [-1, 1].
        scales: K, ascending, with 0 among them.
        before: the pairs' sources, float32 [P, 3, H, W]; P may be 0.
        after: the pairs' targets, float32 [P, 3, H, W].
        readers: open networks by name.
        attribute: what the pairs move; None takes what the probe sees move most.
        match: see `Evidence`.

    Raises:
        ValueError: 0 is not among the scales, or the probe knows no such attribute.
    """
    if 0.0 not in scales:
        raise ValueError(f"scales={list(scales)}: 0 is missing, the image to compare with")
    count, width = images.shape[:2]
    bases = images[:, scales.index(0.0)]
    flat = images.flatten(2)
    # The exact mode: by matrix products, distances near 0 drown in rounding.
    distance = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    unit = 2 * flat.shape[-1] ** 0.5
    people = torch.cat([bases, before]).flatten(1)
    others = torch.cdist(people, people, compute_mode="donot_use_mm_for_euclid_dist") / unit
    readings = {
        name: Reading(
            lanes=_read(read, images.flatten(0, 1), bases.repeat_interleave(width, 0)).unflatten(
                0, (count, width)
            ),
            before=_read(read, before, before),
            after=_read(read, after, before),
        )
        for name, read in readers.items()
    }
    if "probe" in readings:
        attribute = attribute or moved_most(readings["probe"])
        check_attribute("attribute", attribute)
    else:
        attribute = None
    return Evidence(
        scales=scales,
        distance=distance / unit,
        strangers=others[:count].sum(1) / max(len(people) - 1, 1),
        pair_distance=float((after - before).flatten(1).norm(dim=1).mean()) / unit
        if len(before)
        else None,
        attribute=attribute,
        readings=readings,
        match=match,
    )


def moved_most(reading: Reading) -> str | None:
    """Return the attribute that the pairs move most; None without pairs."""
    if not len(reading.before):
        return None
    return ATTRIBUTES[int((reading.after - reading.before).mean(0).abs().argmax())]


def open_readers(
    readers: Mapping[str, Reader], *, model: Path, size: Size, device: str
) -> tuple[dict[str, Read], dict[str, str]]:
    """Open what can be opened; return it, and why the rest cannot, both by name."""
    opened: dict[str, Read] = {}
    missing: dict[str, str] = {}
    for name, reader in readers.items():
        try:
            opened[name] = reader.open(model=model, size=size, device=device)
        except Missing as error:
            missing[name] = str(error)
    return opened, missing


def _read(read: Read, images: Tensor, bases: Tensor) -> Tensor:
    """Run a reader batch by batch; no image gives [0, 1]."""
    if not len(images):
        return torch.zeros(0, 1)
    parts = zip(images.split(BATCH), bases.split(BATCH), strict=True)
    return torch.cat([read(part, base) for part, base in parts])


def _lack(measured: Measure, seen: Evidence, missing: Mapping[str, str]) -> str:
    """Say why a measure cannot run."""
    known: dict[str, Any] = {
        "pairs": "the pairs are not there; name them with pairs=",
        "attribute": "no probe reads the edited attribute",
        **missing,
    }
    lacking = sorted(measured.needs - seen.has, key=lambda need: need not in missing)
    return known.get(lacking[0], f"reader={lacking[0]} was not asked for")


def _lanes(setting: Setting) -> list[tuple[str, int]]:
    return [(prompt, seed) for prompt in setting.prompts for seed in setting.seeds]

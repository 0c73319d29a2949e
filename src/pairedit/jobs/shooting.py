"""Own the few people that a training shows at its end, and how far their scales go."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pairedit.bases.base import Base
from pairedit.measure.evaluate import witness
from pairedit.measure.readers import Instrument
from pairedit.measure.selfcheck import LANES, further_lanes, placed
from pairedit.measure.subject import Subject
from pairedit.measure.verdict import judge
from pairedit.pictures.lanes import lanes_of
from pairedit.plan.train import TrainPlan
from pairedit.plan.usual import FURTHER_SCALES
from pairedit.sample import Sample, Slider, generate

log = logging.getLogger(__name__)

PREVIEW_LANES = 2  # seeds 0 and 1
FAINT = ("no-op", "weak", "off target")  # verdicts that larger scales may change


def first_lanes(
    base: Base,
    plan: TrainPlan,
    subject: Subject,
    slider: Slider,
    readers: Mapping[str, Instrument],
    seconds: float,
    *,
    settled: bool,
) -> tuple[list[list[Sample]], bool]:
    """Render as many seeds as the preview needs, and more for the report while time is left.

    Where the first seeds hardly show the edit, all are rendered at larger scales.

    Args:
        base: the model, without LoRAs.
        plan: of the training.
        subject: what the slider's pairs show.
        slider: at its scales.
        readers: instruments by name.
        seconds: that training took.
        settled: somebody has measured which scales show the edit.

    Returns:
        The images by seed, and whether they are at larger scales.
    """
    first = PREVIEW_LANES if plan.preview else 1
    started = time.perf_counter()
    lanes = _shoot(base, plan, slider, range(first))
    each = (time.perf_counter() - started) / first
    if not plan.report:
        return lanes, False
    further = not settled and _is_faint(plan, subject, slider, lanes, readers)
    if further:
        slider = replace(slider, scales=FURTHER_SCALES)
        lanes = _shoot(base, plan, slider, range(first))
    spent = time.perf_counter() - started
    more = LANES - first if plan.scored else further_lanes(spent, each, first, seconds)
    if more:
        lanes += _shoot(base, plan, slider, range(first, first + more))
    return lanes, further


def _shoot(base: Base, plan: TrainPlan, slider: Slider, seeds: Sequence[int]) -> list[list[Sample]]:
    """Render seeds at the scales of a slider."""
    samples = generate(
        base,
        sliders=[slider],
        prompts=[plan.model.prompt],
        seeds=seeds,
        rendering=plan.preview_at,
    )
    return lanes_of(list(samples))


def _is_faint(
    plan: TrainPlan,
    subject: Subject,
    slider: Slider,
    lanes: Sequence[Sequence[Sample]],
    readers: Mapping[str, Instrument],
) -> bool:
    """Say whether a few seeds hardly show the edit, and larger scales may."""
    seen = witness(subject, placed(lanes), slider.scales, plan.preview_at.size, readers)
    verdict = judge(seen)
    if verdict.name not in FAINT or verdict.short or verdict.lost_at is not None:
        return False
    log.info(
        "%s: little shows up to scale %g, so the %s goes on to %g, and so does pairedit-gen "
        "where nobody names scales",
        subject.dataset,
        slider.scales[-1],
        "preview" if plan.preview else "report",
        FURTHER_SCALES[-1],
    )
    return True

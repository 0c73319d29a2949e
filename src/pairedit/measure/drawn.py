"""Own what charts draw of sliders: the effect by scale, and what it costs by strength."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pairedit.measure import measures
from pairedit.measure.charts import FAINT, Series
from pairedit.measure.evaluate import Result
from pairedit.measure.evidence import Measure
from pairedit.measure.subject import too_few
from pairedit.runs.losses import Curve, means

# What an edit does and what it costs, by the first of the measures that there is, and its caption.
GAINS = {measures.share: "pairs' worth of change", measures.image_change: "image change"}
COSTS = {measures.off_target: "off-target change", measures.identity_lost: "way to another person"}
LOSS = "mean over a tenth of the steps; pale: every step"
LOSSES = (
    "mean over a tenth of the steps. Each method adds up other terms, so compare the heights of "
    "one method only"
)
POINTS = 300  # of a curve of losses


def gain_of(result: Result) -> Measure:
    """Return the measure of what the edit does."""
    return next(measured for measured in GAINS if measured in result.summaries)


def cost_of(result: Result) -> Measure:
    """Return the measure of what the edit costs."""
    return next(measured for measured in COSTS if measured in result.summaries)


def gained(result: Result) -> str:
    """Say what the measure of the edit is, and where it has no interval."""
    gain = gain_of(result)
    if not result.summaries[gain].few:
        return GAINS[gain]
    return f"{GAINS[gain]}; {too_few(len(result.seen.distance))}"


def effects(group: Sequence[Result], labels: Sequence[str]) -> list[Series]:
    """Draw the effect by scale, with 95 % intervals."""
    return [
        Series(
            name=result.subject.label,
            xs=result.seen.scales,
            ys=(curve := result.summaries[gain_of(result)]).mean.tolist(),
            low=curve.low.tolist(),
            high=curve.high.tolist(),
            look=labels.index(result.subject.label),
        )
        for result in group
    ]


def prices(group: Sequence[Result], labels: Sequence[str]) -> list[Series]:
    """Draw what else changes by how much the edit does, at scales of 0 and more."""
    found = []
    for result in group:
        up = [k for k, scale in enumerate(result.seen.scales) if scale >= 0]
        gain, cost = (result.summaries[of(result)].mean for of in (gain_of, cost_of))
        found.append(
            Series(
                name=result.subject.label,
                xs=gain[up].tolist(),
                ys=cost[up].tolist(),
                look=labels.index(result.subject.label),
            )
        )
    return found


def losses(curves: Mapping[str, Curve], labels: Sequence[str]) -> list[Series]:
    """Draw the losses of trainings: their running means, of a single one every step as well.

    Args:
        curves: steps and losses, by label.
        labels: of all sliders, which give the looks.
    """
    found = []
    for label, curve in curves.items():
        known = [(step, value) for step, value in curve if 0 < value < math.inf]
        thin = known[:: max(1, len(known) // POINTS)]
        if len(curves) == 1 and thin:
            found.append(
                Series(
                    name="each step",
                    xs=[s for s, _ in thin],
                    ys=[v for _, v in thin],
                    look=FAINT,
                    dots=False,
                )
            )
        mean = means(known)
        mean = mean[:: max(1, len(mean) // POINTS)]
        found.append(
            Series(
                name=label,
                xs=[step for step, _ in mean],
                ys=[value for _, value in mean],
                look=labels.index(label),
                dots=False,
            )
        )
    return found

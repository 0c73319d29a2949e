"""Own the scale that is worth one pair: how sure it is, and how many people make it surer.

It is worth one pair on average. How far the people who come next are from that depends on how much
people differ, and on how many of them were read.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pairedit.measure import measures
from pairedit.measure.effect import due, effect
from pairedit.measure.evidence import Evidence
from pairedit.measure.intervals import Summary, at, summarise
from pairedit.measure.subject import FEWEST, Unit

SURE = 0.05  # of a pair: two such errors are the ten percent within which a calibrated slider lands
STEP = 12  # people that are read at a time
MOST = 96  # people in all


def unit_of(seen: Evidence) -> Unit | None:
    """Find the scale that is worth one pair; None where no scale is.

    What it is worth is a ratio of two means over people: of what changes, and of what each is due.
    Source of its standard error: the variance of an estimated ratio, by the delta method (Cochran,
    Sampling Techniques, 1977, section 2.11).
    """
    if "pairs" not in seen.has:
        return None
    scale = float(measures.calibration(seen))
    if math.isnan(scale):
        return None
    away = at(seen.scales, effect(seen).T, scale) - due(seen)
    people = len(away)
    error = float(away.std()) / people**0.5 if people >= FEWEST else None
    return Unit(scale=scale, error=error, people=people)


def is_sure(unit: Unit) -> bool:
    """Say whether it needs no more people."""
    return unit.error is not None and unit.error <= SURE


def needed(unit: Unit) -> int:
    """Return how many people would make it sure, if they differ as much as those that were read.

    Too few to tell how they differ: so many that it can be told.
    """
    if unit.error is None:
        return STEP
    return STEP * math.ceil(unit.people * (unit.error / SURE) ** 2 / STEP)


def is_open(seen: Evidence) -> bool:
    """Say whether more people may tell which scale is worth one pair, or that none is.

    Where these people do not reach it in the mean, others may, as long as the scale's 95 % interval
    has a beginning: some of the people drawn anew from these reach it.
    """
    unit = unit_of(seen)
    if unit is not None:
        return not is_sure(unit)
    return "pairs" in seen.has and math.isfinite(_known(seen).low)


def _known(seen: Evidence) -> Summary:
    """Return the scale, with the ends that even two people give: where to look, no more."""
    return summarise(measures.calibration, seen, fewest=2)


def surer(seen: Evidence, more: Callable[[int], Evidence], most: int = MOST) -> Evidence:
    """Read more people, a few at a time, until it is not open or there are enough of them.

    Args:
        seen: of the first people.
        more: returns as many new people, or a few more, at the same scales.
        most: people in all.
    """
    while is_open(seen) and (left := most - len(due(seen))) > 0:
        seen = seen.joined(more(min(STEP, left)))
    return seen


def around(seen: Evidence) -> Evidence:
    """Return a slider at the scales that tell what is worth one pair: 0, and those about it.

    About: as far as the scale's 95 % interval goes.
    """
    known = _known(seen)
    low, high = float(known.low), float(known.high)
    if known.few:
        low = high = float(known.mean)
    last = len(seen.scales) - 1
    first = max((k for k, scale in enumerate(seen.scales) if scale <= low), default=last)
    end = min((k for k, scale in enumerate(seen.scales) if scale >= high), default=last)
    return seen.only(sorted({seen.zero, *range(first, end + 1)}))

"""Own the scale that is worth one pair, how sure it is, and how many people make it surer.

Sliders that act on many people are worth one pair on average. How far the next people are from it
depends on how much people differ, and on how many of them were read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pairedit.measure import measures
from pairedit.measure.effect import due, effect
from pairedit.measure.evidence import Evidence
from pairedit.measure.intervals import at

SURE = 0.05  # of a pair: two such errors are the ten percent within which a calibrated slider lands
STEP = 12  # people that are read at a time
MOST = 96  # people in all


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Hold the scale that is worth one pair, and how sure that is."""

    scale: float
    error: float  # standard error of the effect at that scale, as a share of one pair; NaN of one
    people: int

    @property
    def sure(self) -> bool:
        """Say whether more people are not needed."""
        return self.error <= SURE


def unit_of(seen: Evidence) -> Unit | None:
    """Find the scale that is worth one pair; None where no scale is.

    The effect is a ratio of two means over people: what has changed, and what each was due. Its
    standard error is that of the mean of their difference. Source: the variance of an estimated
    ratio (Cochran, Sampling Techniques, 1977, section 2.11), by the delta method.
    """
    if "pairs" not in seen.has:
        return None
    scale = float(measures.calibration(seen))
    if not scale > 0:  # NaN, too
        return None
    away = at(seen.scales, effect(seen).T, scale) - due(seen)
    people = len(away)
    error = float(away.std()) / people**0.5 if people > 1 else float("nan")
    return Unit(scale=scale, error=error, people=people)


def surer(seen: Evidence, more: Callable[[int], Evidence], most: int = MOST) -> Evidence:
    """Read more people, a few at a time, until the unit is sure or there are enough of them.

    Args:
        seen: of the first people.
        more: returns as many new people, at the same scales.
        most: people in all.
    """
    while (unit := unit_of(seen)) and not unit.sure and (left := most - unit.people) > 0:
        seen = seen.joined(more(min(STEP, left)))
    return seen

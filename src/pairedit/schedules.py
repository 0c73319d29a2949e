"""Own how strong a slider is at each step on which it acts.

    scale(t) = scale * (1 + a * (1 - 2 * t))    t from 0 at its first step to 1 at its last

early is a = 1, flat 0, late -1: shapes want a slider early, so that the base model cleans up after
it, colour and texture want it late. On average over the steps the scale is the one asked for.
Nothing here imports torch.
"""

from __future__ import annotations

import math
from typing import Any

SCHEDULES = {"flat": 0.0, "early": 1.0, "late": -1.0}
ACCEPTED = f"{', '.join(SCHEDULES)}, or a number from -1 (late) to 1 (early)"


def is_schedule(value: Any) -> bool:
    """Say whether a value is one of the words, or a number within their range."""
    number = SCHEDULES.get(value, value) if isinstance(value, str) else value
    known = isinstance(number, int | float) and not isinstance(number, bool)
    return known and math.isfinite(number) and -1 <= number <= 1


def lean_of(value: str | float) -> float:
    """Return `a` of one of the words, or of a number as it is."""
    return SCHEDULES[value] if isinstance(value, str) else float(value)


def strength(lean: float, step: int, first: int, steps: int) -> float:
    """Return what a slider's scale is multiplied by at one step.

    Args:
        lean: a, from -1 to 1.
        step: index, at least `first`.
        first: the step at which the slider sets in.
        steps: of the whole run.
    """
    acting = steps - first
    place = (step - first) / (acting - 1) if acting > 1 else 0.5
    return 1 + lean * (1 - 2 * place)

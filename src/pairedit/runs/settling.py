"""Own when a training has learnt enough: a measure that is taken now and then no longer rises.

It has settled when none of the last `PATIENCE` values is above the best one before them by more
than `RISE` of it: a single value may be chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

RISE = 0.05  # of the best value so far; less counts as no rise
PATIENCE = 2  # values in a row without a rise


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """Measure a LoRA while it is being trained, at a known cost."""

    name: str  # of what is measured
    every: int  # steps
    passes: int  # of the model for one picture, without gradients, that it takes
    # Of a function that predicts, `methods.Step.velocity`.
    read: Callable[[Callable[..., Any]], float]


@dataclass(kw_only=True)
class Settling:
    """Watch one gauge during one training."""

    gauge: Gauge
    velocity: Callable[..., Any]  # of the training, as it is by then
    values: list[float] = field(default_factory=list)  # read so far; a checkpoint keeps them

    def settled_by(self, step: int) -> bool:
        """Read the gauge if that is due after a step; say whether it has settled."""
        if step % self.gauge.every:
            return False
        self.values.append(self.gauge.read(self.velocity))
        return settled(self.values)

    @property
    def why(self) -> str:
        """Say what has settled, with the values that show it."""
        shown = ", ".join(f"{value:.3g}" for value in self.values[-PATIENCE - 1 :])
        return f"{self.gauge.name} no longer rises ({shown})"


def settled(values: Sequence[float]) -> bool:
    """Say whether the last values show no rise over those before."""
    before, last = values[:-PATIENCE], values[-PATIENCE:]
    # What has done nothing yet may still begin to.
    return bool(before) and max(before) > 0 and max(last) <= max(before) * (1 + RISE)

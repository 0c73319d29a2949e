"""Own the verdict on a loss: whether training has diverged.

FLUX ends in a layer norm, so a ruined LoRA seldom makes the loss infinite: it settles high. Losses
of single steps differ by 20 times with the noise level, so means of `WINDOW` steps are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pairedit.settings import Training

WINDOW = 20  # steps
GROWTH = 10.0  # times; sound runs on flux-mini stay below 3


@dataclass
class LossWatch:
    """Compare the last losses with the first ones."""

    first: list[float] = field(default_factory=list)  # at most WINDOW
    recent: list[float] = field(default_factory=list)  # at most WINDOW

    def diverged(self, loss: float) -> str | None:
        """Take in the loss of one step; return what is wrong, such as `is nan`."""
        if not math.isfinite(loss):
            return f"is {loss}"
        if len(self.first) < WINDOW:
            self.first.append(loss)
        self.recent = [*self.recent[1 - WINDOW :], loss]
        start, now = _mean(self.first), _mean(self.recent)
        if len(self.recent) == WINDOW and now > GROWTH * start:
            return f"has grown from {start:.3g} to {now:.3g} (means of {WINDOW} steps)"
        return None

    @property
    def now(self) -> float:
        """Return the mean of the last losses; 0 before there is one."""
        return _mean(self.recent) if self.recent else 0.0

    def state(self) -> dict[str, list[float]]:
        """Return what `LossWatch(**state)` goes on from."""
        return {"first": self.first, "recent": self.recent}


def calmer(learning_rate: float) -> str:
    """Write the rate to try after one that diverged: the default, or a quarter of a lower one."""
    default = Training.learning_rate
    if learning_rate > default:
        return f"learning_rate={default:g}, the default"
    return f"learning_rate={learning_rate / 4:g}"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

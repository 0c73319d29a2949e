"""Own means, their bootstrap intervals, and what is read off a curve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pairedit.measure.evidence import Evidence, Measure

RESAMPLES = 1000  # bootstrap draws


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Hold a measure's mean over the lanes and its 95 % bootstrap interval."""

    mean: Tensor  # float32 [K] or []; NaN where there is none, such as a scale not reached
    low: Tensor
    high: Tensor  # infinite where too many resamples do not get there


def summarise(measured: Measure, seen: Evidence) -> Summary:
    """Compute one measure of one slider.

    Source: Efron, Bootstrap methods: another look at the jackknife (1979); percentile interval
    over lanes.

    Raises:
        KeyError: the evidence lacks something the measure needs.
    """
    if missing := measured.needs - seen.has:
        raise KeyError(f"{measured.name} needs {', '.join(sorted(missing))}")
    value = measured(seen)
    count = len(seen.distance)
    generator = torch.Generator().manual_seed(0)
    picked = torch.randint(count, (RESAMPLES, count), generator=generator)
    if value.ndim:
        mean, means = value.nanmean(0), value[picked].nanmean(1)
    else:
        mean, means = value, torch.stack([measured(seen.pick(p)) for p in picked[::5]])
    # What a resample does not reach lies beyond every value that others reach.
    means = means.nan_to_num(nan=float("inf"))
    ends = torch.tensor([0.025, 0.975])
    low, high = torch.quantile(means, ends, dim=0, interpolation="nearest")
    return Summary(mean=mean, low=low, high=high)


def crossing(scales: tuple[float, ...], curve: Tensor, level: float) -> Tensor:
    """Return the smallest scale >= 0 where a curve reaches a level, straight between scales.

    Args:
        scales: K, ascending, with 0 among them.
        curve: [K].
        level: above the curve's value at 0, or the answer is 0.

    Returns:
        float32 []; NaN where no scale reaches it.
    """
    points = [(s, float(v)) for s, v in zip(scales, curve, strict=True) if s >= 0]
    before = points[0]
    if before[1] >= level:
        return torch.tensor(0.0)
    for point in points[1:]:
        if point[1] >= level:
            share = (level - before[1]) / (point[1] - before[1])
            return torch.tensor(before[0] + share * (point[0] - before[0]))
        before = point
    return torch.tensor(float("nan"))


def at(scales: tuple[float, ...], curve: Tensor, scale: Tensor | float) -> Tensor:
    """Read curves [K, ...] at one scale within `scales`, straight between scales; [...]."""
    scale = float(scale)
    if scale != scale:
        return torch.full_like(curve[0], float("nan"))
    right = next(k for k, known in enumerate(scales) if known >= scale - 1e-9)
    left = max(right - 1, 0)
    share = (scale - scales[left]) / ((scales[right] - scales[left]) or 1.0)
    return torch.lerp(curve[left], curve[right], share)

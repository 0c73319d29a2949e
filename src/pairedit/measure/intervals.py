"""Own means, their bootstrap intervals, and what is read off a curve."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pairedit.measure.evidence import Evidence, Measure
from pairedit.measure.subject import FEWEST

RESAMPLES = 1000  # bootstrap draws


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Hold a measure's mean over the lanes and its 95 % bootstrap interval."""

    mean: Tensor  # float32 [K] or []; NaN where there is none, such as a scale not reached
    low: Tensor  # NaN of few lanes: they tell nothing of others
    high: Tensor  # the same, and infinite where too many resamples do not get there

    @property
    def few(self) -> bool:
        """Say whether too few lanes were read for an interval."""
        return bool(self.low.isnan().all())


def summarise(measured: Measure, seen: Evidence, *, fewest: int = FEWEST) -> Summary:
    """Compute one measure of one slider; no interval of fewer lanes than `fewest`.

    Source: Efron, Bootstrap methods: another look at the jackknife (1979); percentile interval
    over lanes.

    Raises:
        KeyError: the evidence lacks something the measure needs.
    """
    if missing := measured.needs - seen.has:
        raise KeyError(f"{measured.name} needs {', '.join(sorted(missing))}")
    value = measured(seen)
    count = len(seen.distance)
    if count < fewest:
        mean = value.nanmean(0) if value.ndim else value
        nothing = torch.full_like(mean, float("nan"))
        return Summary(mean=mean, low=nothing, high=nothing)
    generator = torch.Generator().manual_seed(0)
    picked = torch.randint(count, (RESAMPLES, count), generator=generator)
    if value.ndim:
        mean, means = value.nanmean(0), value[picked].nanmean(1)
    else:
        # Of few lanes many draws are the same: each is measured once.
        draws, which = picked[::5].unique(dim=0, return_inverse=True)
        mean, means = value, torch.stack([measured(seen.pick(draw)) for draw in draws])[which]
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


def straightness(scales: tuple[float, ...], curve: Tensor, end: float) -> Tensor:
    """Return R² of the straight line through a curve from scale 0 to `end`, by least squares.

    Over the scale itself, the curve straight between scales: where scales lie close together
    weighs no more. For such curves the integrals below are exact.

    Args:
        scales: K, ascending, with 0 among them.
        curve: [K].
        end: above 0, at most the last scale.

    Returns:
        float32 []; NaN where fewer than two scales lie above 0 and below or at `end`, because
        one point is on a line with 0 whatever happens between, or where the curve is constant.
    """
    inside = [k for k, scale in enumerate(scales) if 0 <= scale <= end]
    if len(inside) < 3:
        return torch.tensor(float("nan"))
    places = torch.tensor([*(scales[k] for k in inside), end], dtype=torch.float64)
    values = torch.stack([*(curve[k] for k in inside), at(scales, curve, end)]).double()
    widths = places.diff()

    def mean(one: Tensor, other: Tensor) -> Tensor:
        """Return the mean over the scale of a product, by Simpson's rule."""
        (a, b), (c, d) = (one[:-1], one[1:]), (other[:-1], other[1:])
        return (widths * (2 * a * c + a * d + b * c + 2 * b * d)).sum() / (6 * end)

    unit = torch.ones_like(places)
    places, values = (part - mean(part, unit) for part in (places, values))
    spread = mean(places, places) * mean(values, values)
    return (mean(places, values).square() / spread).float()


def mean_cost(gains: Tensor, costs: Tensor, end: float) -> Tensor:
    """Return the mean of a cost over the gain from 0 to `end`: the area under it, over `end`.

    A gain costs what it costs where it is first reached, straight between points.

    Args:
        gains: [K] at scales ascending from 0.
        costs: [K], at the same scales.
        end: above 0.

    Returns:
        float32 []; NaN where the gain is not reached.
    """
    area, reached = torch.tensor(0.0), 0.0
    for left in range(len(gains) - 1):
        start, stop = float(gains[left]), float(gains[left + 1])
        low, high = max(reached, start), min(stop, end)
        if high > low:
            ends = torch.tensor([(low - start), (high - start)]) / (stop - start)
            area = area + (high - low) * torch.lerp(costs[left], costs[left + 1], ends).mean()
            reached = high
    return area / end if reached >= end else torch.tensor(float("nan"))

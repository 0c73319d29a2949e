"""Own what is known of a slider, how measures of it are registered, and their intervals.

A measure is one function of `Evidence`; it returns a value for every lane and scale, for every
lane, or one for all lanes together. `summarise` makes means and bootstrap intervals of any of them.

Shapes: N lanes (seeds x prompts), K scales ascending with 0 among them, P pairs, D numbers a
reader reads off an image, A attributes in the order of `faces.ATTRIBUTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pairedit.attributes import IDENTITY, INDEX, TIED

RESAMPLES = 1000  # bootstrap draws
NOTICED = 0.1  # shares of one pair's worth of change: "something happens"
LOST = 0.5  # shares of the difference between two people: "identity is lost"
LOST_PIXELS = 0.8  # the same in pixels, where a change of hair alone counts much


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Hold what one reader read: numbers of every lane and scale, and of the pairs."""

    lanes: Tensor  # float32 [N, K, D]
    before: Tensor  # float32 [P, D]; P may be 0
    after: Tensor  # float32 [P, D]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Hold what is known of one slider at its scales."""

    scales: tuple[float, ...]  # K
    distance: Tensor  # float32 [N, K, K], root mean square between images of a lane, in [0, 1]
    strangers: Tensor  # float32 [N], the same between a lane's image at 0 and other people's
    pair_distance: float | None = None  # the same between before and after; None without pairs
    attribute: str | None = None  # what the pairs move; None where no probe reads it
    readings: Mapping[str, Reading] = field(default_factory=dict)  # by reader
    match: float = 0.5  # share of one pair's worth at which sliders are compared

    @property
    def zero(self) -> int:
        """Return the position of scale 0."""
        return self.scales.index(0.0)

    @property
    def change(self) -> Tensor:
        """Return d(s), [N, K]."""
        return self.distance[:, self.zero]

    @property
    def has(self) -> frozenset[str]:
        """Name what measures may ask for: readers, pairs, attribute."""
        known = set(self.readings)
        known |= {"pairs"} if self.pair_distance is not None else set()
        return frozenset(known | ({"attribute"} if self.attribute else set()))

    def attributes(self, names: tuple[str, ...]) -> Tensor:
        """Return the change of some attributes since scale 0, [N, K, len(names)]."""
        values = self.readings["probe"].lanes[..., [INDEX[name] for name in names]]
        return values - values[:, [self.zero]]

    def pick(self, lanes: Tensor) -> Evidence:
        """Return the same slider seen through some of its lanes, int64 [M], with repetition."""
        return replace(
            self,
            distance=self.distance[lanes],
            strangers=self.strangers[lanes],
            readings={n: replace(r, lanes=r.lanes[lanes]) for n, r in self.readings.items()},
        )


Function = Callable[[Evidence], Tensor]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Name a measure and what it cannot do without."""

    name: str
    needs: frozenset[str]  # readers, `pairs`, `attribute`
    function: Function  # -> float32 [N, K], [N] or []; NaN where there is no value

    @property
    def meaning(self) -> str:
        """Return the first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


MEASURES: dict[str, Measure] = {}


def measure(name: str, *needs: str) -> Callable[[Function], Function]:
    """Register a function as a measure."""

    def register(function: Function) -> Function:
        MEASURES[name] = Measure(name=name, needs=frozenset(needs), function=function)
        return function

    return register


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
    value = measured.function(seen)
    count = len(seen.distance)
    generator = torch.Generator().manual_seed(0)
    picked = torch.randint(count, (RESAMPLES, count), generator=generator)
    if value.ndim:
        mean, means = value.nanmean(0), value[picked].nanmean(1)
    else:
        mean, means = value, torch.stack([measured.function(seen.pick(p)) for p in picked[::5]])
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


def worth(seen: Evidence) -> float | None:
    """Return one pair's worth: the mean change of the attribute that the pairs show.

    Where a person is nearer to the after images than a pair is wide, no more than what is left
    counts: who smiles already cannot smile as much more as the pairs do.

    Returns:
        In units of the attribute's range, signed; None without pairs or attribute.
    """
    if not {"probe", "pairs", "attribute"} <= seen.has:
        return None
    reading, column = seen.readings["probe"], INDEX[seen.attribute or ""]
    shown = float((reading.after - reading.before)[:, column].mean())
    sign = 1.0 if shown >= 0 else -1.0
    left = sign * (reading.after[:, column].mean() - reading.lanes[:, seen.zero, column])
    return sign * float(left.clamp(0, abs(shown)).mean())


def effect(seen: Evidence) -> Tensor:
    """Return how much of one pair's worth happens at each scale, by the best reader there is.

    The attribute's change by the probe, else the change along the pairs' CLIP direction, else
    the image distance, which has no sign of its own and takes the scale's.

    Returns:
        [N, K]; 1 is as much as the pairs show; without pairs the attribute's full range, or
        image distance itself.
    """
    if value := worth(seen):
        return seen.attributes((seen.attribute or "",))[..., 0] / value
    if {"clip", "pairs"} <= seen.has:
        reading = seen.readings["clip"]
        direction = (reading.after - reading.before).mean(0)
        moved = reading.lanes - reading.lanes[:, [seen.zero]]
        return moved @ direction / direction.square().sum()
    if seen.pair_distance is None and {"probe", "attribute"} <= seen.has:
        return seen.attributes((seen.attribute or "",))[..., 0]
    sign = torch.tensor([-1.0 if scale < 0 else 1.0 for scale in seen.scales])
    return seen.change * sign / (seen.pair_distance or 1.0)


def identity(seen: Evidence) -> Tensor:
    """Return how far each image is from its own person, as a share of the way to `LOST`; [N, K].

    By the probe: mean change of the identity attributes over the mean difference of two people
    of this run; by pixels: distance over the distance to other people. The larger counts.
    """
    lost = seen.change / (seen.strangers.mean() * LOST_PIXELS)
    if "probe" in seen.readings:
        names = tuple(n for n in IDENTITY if n not in TIED.get(seen.attribute or "", ()))
        columns = [INDEX[name] for name in names]
        people = seen.readings["probe"].lanes[:, seen.zero][:, columns]
        people = torch.cat([people, seen.readings["probe"].before[:, columns]])
        if len(people) > 1:
            others = torch.pdist(people, p=1).mean() / len(names)
            lost = torch.maximum(lost, seen.attributes(names).abs().mean(-1) / (others * LOST))
    return lost

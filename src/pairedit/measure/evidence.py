"""Own what is known of a slider, how measures of it are registered, and their intervals.

A measure is one function of `Evidence`; it returns a value for every lane and scale, for every
lane, or one for all lanes together. `summarise` makes means and bootstrap intervals of any of them.

Shapes: N lanes (seeds x prompts), K scales ascending with 0 among them, P pairs, D numbers a
reader reads off an image, A attributes in the order of `faces.ATTRIBUTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from pairedit.mini.attributes import INDEX


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

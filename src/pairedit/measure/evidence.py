"""Own what is known of a slider, read off its images and those of its pairs, and what measures it.

Shapes: N lanes (seeds x prompts), K scales ascending with 0 among them, P pairs, D numbers a
reader reads off an image, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pairedit.measure.readers import BATCH, SIDE, Instrument
from pairedit.mini.attributes import UNREAD, unknown

PICTURE = "picture"  # the reading that needs no network: the images themselves, small
# Share of all that a probe sees pairs move which one attribute has to be, or it is no guess.
# Chosen: each shipped edit has more than half, and what is painted on people, such as a hat, which
# no probe knows, less than .3 (pytest tests/measure/test_guesses.py holds both). The most that any
# painting had when this was chosen was .36; those pairs are not kept.
STANDS_OUT = 0.43


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Hold what one instrument read: numbers of every lane and scale, and of the pairs."""

    instrument: Instrument
    lanes: Tensor  # float32 [N, K, D]
    before: Tensor  # float32 [P, D]; P may be 0
    after: Tensor  # float32 [P, D]

    def of(self, values: Tensor, *names: str) -> Tensor:
        """Return the columns of some attributes, [..., len(names)], from numbers [..., D]."""
        return values[..., [self.instrument.columns.index(name) for name in names]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Hold what is known of one slider at its scales."""

    scales: tuple[float, ...]  # K
    distance: Tensor  # float32 [N, K, K], root mean square between images of a lane, in [0, 1]
    strangers: Tensor  # float32 [N], the same between a lane's image at 0 and other people's
    pair_distance: float | None = None  # the same between before and after; None without pairs
    attribute: str | None = None  # what the pairs move; None where no probe reads it
    guessed: bool = False  # nobody named the edit: the pairs tell the attribute, or that none is
    unread: bool = False  # no reader knows the edit, as somebody said or the pairs tell
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
    def probe(self) -> Reading | None:
        """Return what reads attributes: the first reading with columns, the edited one among them.

        None where no instrument names columns, and of an edit that no reader knows: a probe would
        take a hat for a change of the hair, and a person in it for somebody else.
        """
        if self.unread:
            return None
        probes = [reading for reading in self.readings.values() if reading.instrument.columns]
        able = [r for r in probes if self.attribute in (None, *r.instrument.columns)]
        return able[0] if able else None

    @property
    def by_pictures(self) -> bool:
        """Say that no attribute tells how much of the edit happens: a guess only names it."""
        return self.unread or self.guessed

    @property
    def has(self) -> frozenset[str]:
        """Name what measures may ask for: readers, pairs, attribute, and any probe as `probe`."""
        known = set(self.readings)
        known |= {"probe"} if self.probe else set()
        known |= {"pairs"} if self.pair_distance is not None else set()
        return frozenset(known | ({"attribute"} if self.attribute else set()))

    @property
    def tied(self) -> frozenset[str]:
        """Name the attributes that move with the edited one by their nature."""
        tied = self.probe.instrument.tied if self.probe else {}
        return frozenset(tied.get(self.attribute or "", ()))

    @property
    def others(self) -> tuple[str, ...]:
        """Name the attributes that the edit is to leave alone."""
        moved = {self.attribute, *self.tied}
        return tuple(name for name in self.probe.instrument.columns if name not in moved)

    def attributes(self, *names: str) -> Tensor:
        """Return the change of some attributes since scale 0, [N, K, len(names)]."""
        values = self.probe.of(self.probe.lanes, *names)
        return values - values[:, [self.zero]]

    def pick(self, lanes: Tensor) -> Evidence:
        """Return the same slider seen through some of its lanes, int64 [M], with repetition."""
        return replace(
            self,
            distance=self.distance[lanes],
            strangers=self.strangers[lanes],
            readings={n: replace(r, lanes=r.lanes[lanes]) for n, r in self.readings.items()},
        )

    def only(self, places: Sequence[int]) -> Evidence:
        """Return the same slider at some of its scales, ascending, with 0 among them."""
        at = list(places)
        return replace(
            self,
            scales=tuple(self.scales[place] for place in at),
            distance=self.distance[:, at][:, :, at],
            readings={n: replace(r, lanes=r.lanes[:, at]) for n, r in self.readings.items()},
        )

    def joined(self, other: Evidence) -> Evidence:
        """Return the same slider with the lanes of another look, by what has read both."""
        return replace(
            self,
            distance=torch.cat([self.distance, other.distance]),
            strangers=torch.cat([self.strangers, other.strangers]),
            readings={
                name: replace(r, lanes=torch.cat([r.lanes, other.readings[name].lanes]))
                for name, r in self.readings.items()
                if name in other.readings
            },
        )


Function = Callable[[Evidence], Tensor]


@dataclass(frozen=True)
class Column:
    """Say how a measure stands in the table of sliders; a curve with its value at the end."""

    head: str
    _: KW_ONLY
    digits: int = 2  # behind the point
    percent: bool = False  # the mean alone, as a share
    place: int = 100  # columns stand in this order, then in that of the measures


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """Compute one quantity of a slider. Results are looked up by the measure itself."""

    name: str  # in eval.json and the report
    needs: frozenset[str]  # readers, `probe` for any that reads attributes, `pairs`, `attribute`
    function: Function
    column: Column | None = None  # in the table; None leaves it out

    def __call__(self, seen: Evidence) -> Tensor:
        """Return float32 [N, K], [N] or []; NaN where there is no value."""
        return self.function(seen)

    @property
    def meaning(self) -> str:
        """Return the first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


def collect(
    images: Tensor,
    *,
    scales: tuple[float, ...],
    before: Tensor,
    after: Tensor,
    readers: Mapping[str, Instrument],
    attribute: str | None = None,
    match: float = 0.5,
) -> Evidence:
    """Read images of one slider and of its pairs.

    Args:
        images: float32 [N, K, 3, H, W] in [-1, 1].
        scales: K, ascending, with 0 among them.
        before: the pairs' sources, float32 [P, 3, H, W]; P may be 0.
        after: the pairs' targets, float32 [P, 3, H, W].
        readers: instruments by name.
        attribute: what the pairs move; None guesses it, see `stands_out`, and `UNREAD` says that
            no reader knows it.
        match: see `Evidence`.

    Raises:
        ValueError: 0 is not among the scales, or no probe knows such an attribute.
    """
    if 0.0 not in scales:
        raise ValueError(
            f"scales={list(scales)}: 0 is missing; every image is compared with the one at scale 0"
        )
    count, width = images.shape[:2]
    bases = images[:, scales.index(0.0)]
    flat = images.flatten(2)
    # The exact mode: by matrix products, distances near 0 drown in rounding.
    distance = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    unit = 2 * flat.shape[-1] ** 0.5
    people = torch.cat([bases, before]).flatten(1)
    others = torch.cdist(people, people, compute_mode="donot_use_mm_for_euclid_dist") / unit
    readings = {
        name: Reading(
            instrument=instrument,
            lanes=_read(
                instrument, images.flatten(0, 1), bases.repeat_interleave(width, 0)
            ).unflatten(0, (count, width)),
            before=_read(instrument, before, before),
            after=_read(instrument, after, before),
        )
        for name, instrument in {PICTURE: COARSE, **readers}.items()
    }
    edited = None if attribute == UNREAD else _edited(attribute, readings)
    probed = any(reading.instrument.columns for reading in readings.values())
    guessed = attribute is None and probed and len(before) > 0
    return Evidence(
        scales=scales,
        distance=distance / unit,
        strangers=others[:count].sum(1) / max(len(people) - 1, 1),
        pair_distance=float((after - before).flatten(1).norm(dim=1).mean()) / unit
        if len(before)
        else None,
        attribute=edited,
        guessed=guessed,
        unread=attribute == UNREAD or (guessed and edited is None),
        readings=readings,
        match=match,
    )


def _edited(attribute: str | None, readings: Mapping[str, Reading]) -> str | None:
    """Return the attribute that is edited; None where no probe reads it, as far as is known."""
    probes = [reading for reading in readings.values() if reading.instrument.columns]
    if not probes:
        return None
    known = [name for reading in probes for name in reading.instrument.columns]
    if attribute is not None and attribute not in known:
        raise ValueError(f"attribute={unknown(attribute, known)}")
    return attribute or stands_out(probes[0])


def stands_out(reading: Reading) -> str | None:
    """Return the attribute that pairs move far more than others; None where none stands out.

    A probe takes what it does not know for a bit of everything: a painted nose for glasses, red
    lips and a wide nose.
    """
    if not len(reading.before):
        return None
    columns, tied = reading.instrument.columns, reading.instrument.tied
    change = dict(
        zip(columns, (reading.after - reading.before).mean(0).abs().tolist(), strict=True)
    )
    first = max(columns, key=change.__getitem__)
    moved = sum(change[name] for name in columns if name not in tied.get(first, ()))
    return first if change[first] > STANDS_OUT * moved else None


def _coarse(images: Tensor, references: Tensor) -> Tensor:
    """Return images at a few pixels, [B, 3 * SIDE * SIDE]."""
    return F.adaptive_avg_pool2d(images, SIDE).flatten(1)


COARSE = Instrument(read=_coarse)


def _read(instrument: Instrument, images: Tensor, references: Tensor) -> Tensor:
    """Read batch by batch; no image gives no row, but the columns."""
    if not len(images):
        return torch.zeros(0, len(instrument.columns) or 1)
    parts = zip(images.split(BATCH), references.split(BATCH), strict=True)
    return torch.cat([instrument.read(part, base) for part, base in parts])

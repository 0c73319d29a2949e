"""Own how a shape is chosen: the size that a picture is brought to, and what is cut off for it.

A model draws sides that are multiples of its unit, the pixels of one token. A picture keeps its
own shape as one of a few, so that nearby shapes have one size, of about the same area: code that is
compiled for a size serves all of them. What is off by less than a rounding is not cut but resized.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pairedit.settings import LARGEST, Size

# Long side to short side: formats of cameras, paper and screens, and none far from its neighbours.
SHAPES = (1, 9 / 8, 5 / 4, 4 / 3, 3 / 2, 8 / 5, 16 / 9, 2, 21 / 9, 3)
ROUNDING = 0.02  # of height / width; sides that are rounded to a unit are off by as much
AREA = 0.2  # an area that is off counts so many times as much as a shape that is

Box = tuple[int, int, int, int]  # left, top, right, bottom in px


def is_side(side: int, unit: int) -> bool:
    """Say whether a model of this unit can draw a side of so many px."""
    return unit <= side <= LARGEST and side % unit == 0


def in_units(size: Size, unit: int) -> Size:
    """Return how many units a size has down and across.

    Raises:
        ValueError: a side that is none of them whole.
    """
    height, width = size
    if not all(is_side(side, unit) for side in size):
        raise ValueError(
            f"an image of {width} x {height} px: expected multiples of {unit} px, at most {LARGEST}"
        )
    return height // unit, width // unit


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Bring every picture to the size that is nearest to its own shape."""

    resolution: int  # px; the area is that of a square of this side
    unit: int  # px

    @property
    def square(self) -> Size:
        """Return the size of a square, and of all that has no shape of its own."""
        return self.resolution, self.resolution

    def of(self, width: int, height: int) -> Size:
        """Return the height and width for a picture of so many px."""
        wanted = abs(math.log(width / height))
        shape = min(SHAPES, key=lambda shape: abs(math.log(shape) - wanted))
        short, long = _sides(shape, self.resolution, self.unit)
        return (short, long) if width > height else (long, short)


Sizing = Size | Fit  # a tuple is the size of every picture, whatever its shape


def usual(sizing: Sizing) -> Size:
    """Return the size of what has no shape of its own, such as a picture made of words."""
    return sizing.square if isinstance(sizing, Fit) else sizing


def _sides(shape: float, resolution: int, unit: int) -> tuple[int, int]:
    """Return the short and the long side in px that come nearest to a shape and an area."""
    side = resolution / unit
    most = LARGEST // unit

    def off(short: int, long: int) -> float:
        area = abs(math.log(short * long / side**2))
        return abs(math.log(long / short / shape)) + AREA * area

    ideal = side / math.sqrt(shape)
    shorts = range(max(1, math.floor(ideal) - 2), math.ceil(ideal) + 3)
    pairs = [
        (short, long)
        for short in shorts
        for long in {math.floor(short * shape), math.ceil(short * shape)}
        if short <= long <= most
    ]
    # Of equals the smaller, so that memory suffices wherever a square fits.
    short, long = min(pairs, key=lambda pair: (off(*pair), pair))
    return short * unit, long * unit


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Hold what a picture becomes: its size, and whether something is cut off for it."""

    size: Size
    whole: bool = False  # all of the picture, although its shape differs by a rounding

    def box(self, width: int, height: int) -> Box:
        """Return the part of a picture of so many px that is kept: the middle of it."""
        if self.whole:
            return 0, 0, width, height
        tall, wide = self.size
        scale = min(width / wide, height / tall)
        across, down = round(wide * scale), round(tall * scale)
        left, top = (width - across) // 2, (height - down) // 2
        return left, top, left + across, top + down


def frame_of(sizing: Sizing, width: int, height: int) -> Frame:
    """Choose the frame of a picture of so many px."""
    if not isinstance(sizing, Fit):
        return Frame(size=sizing)
    size = sizing.of(width, height)
    off = math.log(width / height) - math.log(size[1] / size[0])
    return Frame(size=size, whole=abs(off) <= ROUNDING)


def loss(frame: Frame, width: int, height: int) -> str | None:
    """Say what is cut off a picture of so many px; None where it is no more than a rounding."""
    left, top, right, bottom = frame.box(width, height)
    across, down = 1 - (right - left) / width, 1 - (bottom - top) / height
    share, where = max((across, "at the left and right"), (down, "at the top and bottom"))
    if share <= ROUNDING:
        return None
    kept = f"{right - left} x {bottom - top}"
    return f"{width} x {height} px, cut to {kept}: {100 * share:.0f} % is lost {where}"


def counted(sizes: Iterable[Size]) -> str:
    """Name sizes, width first, the most frequent first; of several how often each occurs."""
    found = list(sizes)
    distinct = sorted(dict.fromkeys(found), key=lambda size: -found.count(size))
    times = [f" ({found.count(size)})" if len(distinct) > 1 else "" for size in distinct]
    return ", ".join(f"{w} x {h} px{n}" for (h, w), n in zip(distinct, times, strict=True))

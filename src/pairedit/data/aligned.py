"""Own whether one side of a pair is the other moved, turned, mirrored or enlarged.

Each is tried on gray squares, small ones first; what explains most of the difference is said, with
figures: what is left of the mean difference, in levels of 255. Only Pillow is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from operator import mul

from PIL import Image, ImageChops

TURNED = 0.5  # of the difference is left once one side is turned
MOVED = 0.6  # of the difference is left once one side is moved, enlarged or turned a little
CLEARER = 0.8  # of what moving leaves; else moving alone explains it
LEVEL = 8  # of 255; sides that are nearer are not turned
ZOOMS = range(101, 111)  # %; editors that draw a picture anew often enlarge it a little
ANGLES = (0.5, *range(1, 13))  # degrees to either side; a horizon that was made level
TOUCHED, HARDLY = 0.05, 4  # of the pixels differ by more than so many levels if one side is askew
SMALL, FINE = 64, 256  # px; sides at which small turns and zooms are looked for
FINALISTS = 3  # of what was found on small squares are looked at on fine ones

TURNS = {
    "turned by 90 degrees": Image.Transpose.ROTATE_90,
    "turned by 180 degrees": Image.Transpose.ROTATE_180,
    "turned by 270 degrees": Image.Transpose.ROTATE_270,
    "mirrored left to right": Image.Transpose.FLIP_LEFT_RIGHT,
    "mirrored top to bottom": Image.Transpose.FLIP_TOP_BOTTOM,
}
Place = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Found:
    """Hold one way in which the sides differ."""

    text: str
    here: float  # mean difference as they are, in levels
    there: float  # and without it

    def __str__(self) -> str:
        """Write it with its figures."""
        return (
            f"{self.text}; without that the sides differ by {self.there:.1f} levels of 255 "
            f"instead of {self.here:.1f}"
        )


def misaligned(before: Image.Image, after: Image.Image, scale: float) -> str | None:
    """Say that one side is the other turned, mirrored, moved or enlarged.

    Args:
        before: gray, square.
        after: the same.
        scale: px of the files for each px here.
    """
    if found := _turned(before, after):
        return str(found)
    moved, warped = _moved(before, after, scale), _warped(before, after)
    if moved and warped:
        return str(warped if warped.there < CLEARER * moved.there else moved)
    return str(moved or warped) if moved or warped else None


def square(image: Image.Image, side: int) -> Image.Image:
    """Cut the centre square and reduce it."""
    edge = min(image.size)
    if (edge, edge) == (side, side) == image.size:
        return image
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return image.resize((side, side), Image.Resampling.BOX, box=box)


def _apart(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two gray images in levels."""
    counts = ImageChops.difference(one, other).histogram()
    return sum(map(mul, counts, range(256))) / (one.width * one.height)


def _turned(before: Image.Image, after: Image.Image) -> Found | None:
    """Find a quarter or half turn, or a mirror."""
    before, after = (square(image, min(image.width, SMALL)) for image in (before, after))
    here = _apart(before, after)
    left = {name: _apart(before.transpose(turn), after) for name, turn in TURNS.items()}
    name = min(left, key=left.__getitem__)
    if here < LEVEL or left[name] > TURNED * here:
        return None
    return Found(text=f"the target looks {name} against the source", here=here, there=left[name])


def _moved(before: Image.Image, after: Image.Image, scale: float) -> Found | None:
    """Find a shift of at most an eighth of the side."""
    x = y = 0
    sides = [side for side in (64, 128, 256, 512) if side < before.width] + [before.width]
    for level, side in enumerate(sides):
        one, other = square(before, side), square(after, side)
        reach = side // 8 if level == 0 else 1
        ratio = side / sides[level - 1] if level else 1
        moved = _moves(one, other, limit=side // 8)
        x, y = _best(moved, (round(x * ratio), round(y * ratio)), reach)
    here, there = moved(0, 0), moved(x, y)
    # Beyond the limit of the search nothing is known.
    if (x, y) == (0, 0) or max(abs(x), abs(y)) >= side // 8 or here < 1 or there > MOVED * here:
        return None
    text = f"the target is moved by {x * scale:+.0f} px across and {y * scale:+.0f} px down"
    return Found(text=text, here=here, there=there)


def _warped(before: Image.Image, after: Image.Image) -> Found | None:
    """Find a small turn or zoom about any point, which is one about the centre and a shift."""
    small, fine = (
        [square(image, min(image.width, side)) for image in (before, after)]
        for side in (SMALL, FINE)
    )
    counts = ImageChops.difference(*small).histogram()
    if sum(counts[HARDLY + 1 :]) < TOUCHED * sum(counts):
        return None  # most of the picture stays where it is
    side = small[0].width
    ratio, tried = fine[0].width / side, []
    for text, warp in _warps():
        moved = _moves(*warp(*small), limit=side // 8)
        place = _best(moved, _best(moved, (0, 0), side // 16, by=2), 1)
        tried.append((moved(*place), text, warp, place))
    best: tuple[float, str] | None = None
    for _, text, warp, (x, y) in sorted(tried, key=lambda one: one[0])[:FINALISTS]:
        moved = _moves(*warp(*fine), limit=fine[0].width // 8)
        there = moved(*_best(moved, (round(x * ratio), round(y * ratio)), 2))
        best = min(best, (there, text)) if best else (there, text)
    here = _moves(*fine, limit=fine[0].width // 8)(0, 0)
    if best is None or here < 1 or best[0] > MOVED * here:
        return None
    return Found(text=best[1], here=here, there=best[0])


Sides = tuple[Image.Image, Image.Image]


def _warps() -> Iterable[tuple[str, Callable[[Image.Image, Image.Image], Sides]]]:
    """List small zooms and turns: what is said, and how the sides become alike."""
    for zoom in ZOOMS:
        more = zoom - 100
        yield f"the target is enlarged by {more} %", lambda a, b, z=zoom: (_enlarged(a, z), b)
        yield f"the source is enlarged by {more} %", lambda a, b, z=zoom: (a, _enlarged(b, z))
    bilinear = Image.Resampling.BILINEAR
    for size, (way, sign) in product(ANGLES, (("left", 1), ("right", -1))):
        text = f"the target is turned by {size:g} degree{'s' * (size != 1)} to the {way}"
        yield text, lambda a, b, angle=size * sign: (a.rotate(angle, bilinear), b)


def _enlarged(image: Image.Image, percent: int) -> Image.Image:
    """Enlarge a square about its centre."""
    side = image.width
    margin = side / 2 * (1 - 100 / percent)
    box = (margin, margin, side - margin, side - margin)
    return image.resize((side, side), Image.Resampling.BILINEAR, box=box)


def _best(moved: Callable[[int, int], float], about: Place, reach: int, *, by: int = 1) -> Place:
    """Return the shift after which two images are nearest, among those round about one."""
    around = range(-reach, reach + 1, by)
    return min(
        ((about[0] + x, about[1] + y) for x, y in product(around, around)),
        # The nearest of equals, or flat pictures would seem to move.
        key=lambda to: (moved(*to), abs(to[0]) + abs(to[1])),
    )


def _moves(one: Image.Image, other: Image.Image, *, limit: int) -> Callable[[int, int], float]:
    """Return how far apart two images are once the second is moved back by (x, y)."""
    edge = one.width - limit
    core = one.crop((limit, limit, edge, edge))

    def moved(x: int, y: int) -> float:
        x, y = (max(-limit, min(limit, value)) for value in (x, y))
        return _apart(core, other.crop((limit + x, limit + y, edge + x, edge + y)))

    return moved

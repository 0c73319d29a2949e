"""Own how the two sides of a pair are compared, before anything is learnt from them.

A pair should differ in its edit and in nothing else. Sides of two shapes are cut differently, so
nothing can be learnt from them; the rest is said with figures, since it may be the edit itself.
Everything is measured on the centre squares, which is what a model sees. Only Pillow is needed:
bad pairs are named before numpy and torch load.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from operator import mul

from PIL import Image, ImageChops, ImageFilter, ImageStat

SHAPES = 0.02  # apart in height / width: more than editors do that round sides to 16 px
SIZES = 1.5  # times as large: one side is enlarged, or was, where the other is not
DETAIL = 1 / 3  # of the other side's, in three of four tiles; JPEG leaves 0.7, enlarging twice 0.1
TURNED = 0.5  # of the difference is left once one side is turned
MOVED = 0.6  # of the difference is left once one side is moved or enlarged
ZOOMS = range(101, 111)  # %; editors that draw a picture anew often enlarge it a little
LEVEL = 16  # of 255; JPEG alone changes less
NEARLY_ALL, NEARLY_NONE = 0.95, 0.0005  # of the pixels; half a thousandth is a square of 11 in 512
SEEN = 512  # px; side at which differences are looked at
SHARP = 1024  # px; side at which detail is looked at
TILES = 4  # a side; detail is compared in each, so that the edit itself does not count
TEXTURE = 4.0  # levels²; below, a tile is flat

TURNS = {
    "turned by 90 degrees": Image.Transpose.ROTATE_90,
    "turned by 180 degrees": Image.Transpose.ROTATE_180,
    "turned by 270 degrees": Image.Transpose.ROTATE_270,
    "mirrored left to right": Image.Transpose.FLIP_LEFT_RIGHT,
    "mirrored top to bottom": Image.Transpose.FLIP_TOP_BOTTOM,
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Hold what is wrong with a pair, and what may be."""

    refusal: str | None  # nothing can be learnt
    doubts: Sequence[str]


def compare(before: Image.Image, after: Image.Image) -> Comparison:
    """Compare the two sides of a pair.

    Args:
        before: RGB, any size.
        after: the same.
    """
    if refusal := _shapes(before, after):
        return Comparison(refusal=refusal, doubts=())
    doubts = [] if (doubt := _sizes(before, after)) is None else [doubt]
    side = min(*before.size, *after.size)
    sharp = [_square(image, min(side, SHARP)) for image in (before, after)]
    seen = [_square(image, min(side, SEEN)) for image in sharp]
    gray = [image.convert("L") for image in seen]
    for doubt in (
        _turned(*gray) or _shifted(*gray, side / seen[0].width) or _zoomed(*gray),
        _blurred(*(image.convert("L") for image in sharp)),
        _share(*seen),
    ):
        if doubt:
            doubts.append(doubt)
    return Comparison(refusal=None, doubts=doubts)


def _shapes(before: Image.Image, after: Image.Image) -> str | None:
    """Say that shapes differ by more than rounding."""
    (w, h), (w2, h2) = before.size, after.size
    # One px more or less on a side is rounding, however small the picture.
    if abs(w * h2 - w2 * h) <= max(SHAPES * w * h2, w, h, w2, h2):
        return None
    turned = abs(w * w2 - h * h2) <= SHAPES * w * w2
    why = "one of them is turned" if turned else "the two are cut differently"
    return f"{w} x {h} px and {w2} x {h2} px are not one shape, {why}; both must show the same part"


def _sizes(before: Image.Image, after: Image.Image) -> str | None:
    """Say that one side is much larger."""
    factor = after.width / before.width
    if 1 / SIZES < factor < SIZES:
        return None
    sizes = f"{before.width} x {before.height} px and {after.width} x {after.height} px"
    return f"{sizes}: one side is {max(factor, 1 / factor):.1f} times as large, and may be sharper"


def _square(image: Image.Image, side: int) -> Image.Image:
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


def _turned(before: Image.Image, after: Image.Image) -> str | None:
    """Say that one side is the other turned or mirrored."""
    before, after = (_square(image, min(image.width, 64)) for image in (before, after))
    here = _apart(before, after)
    left = {name: _apart(before.transpose(turn), after) for name, turn in TURNS.items()}
    name = min(left, key=left.__getitem__)
    if here < LEVEL / 2 or left[name] > TURNED * here:
        return None
    return f"the target looks {name} against the source"


def _shifted(before: Image.Image, after: Image.Image, scale: float) -> str | None:
    """Say that one side is the other moved.

    Args:
        before: gray, square.
        after: the same.
        scale: px of the files for each px here.
    """
    x = y = 0
    sides = [side for side in (64, 128, 256, 512) if side < before.width] + [before.width]
    for level, side in enumerate(sides):
        one, other = _square(before, side), _square(after, side)
        reach = side // 8 if level == 0 else 1
        ratio = side / sides[level - 1] if level else 1
        x, y = round(x * ratio), round(y * ratio)
        moved = _moves(one, other, limit=side // 8)
        around = range(-reach, reach + 1)
        x, y = min(
            ((x + dx, y + dy) for dx, dy in product(around, around)),
            # The nearest of equals, or flat pictures would seem to move.
            key=lambda to, moved=moved: (moved(*to), abs(to[0]) + abs(to[1])),
        )
    here, there = moved(0, 0), moved(x, y)
    # Beyond the limit of the search nothing is known.
    if (x, y) == (0, 0) or max(abs(x), abs(y)) >= side // 8 or here < 1 or there > MOVED * here:
        return None
    return (
        f"the target is moved by {x * scale:+.0f} px across and {y * scale:+.0f} px down; so moved "
        f"back it differs by {there:.1f} levels of 255 instead of {here:.1f}"
    )


def _zoomed(before: Image.Image, after: Image.Image) -> str | None:
    """Say that one side is the other enlarged."""
    before, after = (_square(image, min(image.width, 256)) for image in (before, after))
    here = _apart(before, after)
    left = {
        (name, zoom): _apart(_enlarged(one, zoom), other)
        for name, one, other in (("target", before, after), ("source", after, before))
        for zoom in ZOOMS
    }
    name, zoom = min(left, key=left.__getitem__)
    there = left[name, zoom]
    if here < 1 or there > MOVED * here:
        return None
    return (
        f"the {name} is enlarged by {zoom - 100} %; without that it differs by {there:.1f} levels "
        f"of 255 instead of {here:.1f}"
    )


def _enlarged(image: Image.Image, percent: int) -> Image.Image:
    """Enlarge a square about its centre."""
    side = image.width
    margin = side / 2 * (1 - 100 / percent)
    box = (margin, margin, side - margin, side - margin)
    return image.resize((side, side), Image.Resampling.BILINEAR, box=box)


def _moves(one: Image.Image, other: Image.Image, *, limit: int) -> Callable[[int, int], float]:
    """Return how far apart two images are once the second is moved back by (x, y)."""
    edge = one.width - limit
    core = one.crop((limit, limit, edge, edge))

    def moved(x: int, y: int) -> float:
        x, y = (max(-limit, min(limit, value)) for value in (x, y))
        return _apart(core, other.crop((limit + x, limit + y, edge + x, edge + y)))

    return moved


def _blurred(before: Image.Image, after: Image.Image) -> str | None:
    """Say that one side has less detail nearly everywhere, as after enlarging."""
    ratios = sorted(
        (second + 1) / (first + 1)
        for first, second in zip(_detail(before), _detail(after), strict=True)
        if max(first, second) > TEXTURE
    )
    if not ratios:
        return None
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    if high < DETAIL:
        which, other, share = "target", "source", high
    elif low > 1 / DETAIL:
        which, other, share = "source", "target", 1 / low
    else:
        return None
    return (
        f"the {which} is less sharp: in most places its fine detail (variance of the Laplacian) is "
        f"at most {share:.2f} of the {other}'s"
    )


def _detail(gray: Image.Image) -> list[float]:
    """Return the variance of the Laplacian in each tile, in levels²."""
    kernel = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)
    edges, side = gray.filter(kernel), gray.width
    cuts = [round(side * k / TILES) for k in range(TILES + 1)]
    return [
        ImageStat.Stat(edges.crop((cuts[i], cuts[j], cuts[i + 1], cuts[j + 1]))).var[0]
        for i in range(TILES)
        for j in range(TILES)
    ]


def _share(before: Image.Image, after: Image.Image) -> str | None:
    """Say that nearly everything differs, or nearly nothing."""
    channels = ImageChops.difference(before, after).split()
    most = ImageChops.lighter(ImageChops.lighter(*channels[:2]), channels[2])
    counts = most.histogram()
    share = sum(counts[LEVEL + 1 :]) / sum(counts)
    if NEARLY_NONE < share < NEARLY_ALL:
        return None
    word = "everything" if share >= NEARLY_ALL else "nothing"
    return (
        f"nearly {word} differs: {100 * share:.3g} % of the picture, by more than {LEVEL} levels "
        "of 255"
    )

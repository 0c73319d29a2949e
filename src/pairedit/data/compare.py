"""Own how the two sides of a pair are compared, before anything is learnt from them.

A pair should differ in its edit and in nothing else. Sides of two shapes are cut differently, so
nothing can be learnt from them; the rest is said with figures, since it may be the edit itself.
Whether they show the same place is measured on the centre squares, the rest on the whole pictures,
squeezed to squares: both sides alike, whatever their shape. Only Pillow is needed: bad pairs are
named before numpy and torch load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFilter, ImageStat

from pairedit.data.aligned import misaligned, square

SHAPES = 0.02  # apart in height / width: more than editors do that round sides to 16 px
SIZES = 1.5  # times as large: one side is enlarged, or was, where the other is not
DETAIL = 1 / 3  # of the other side's, in three of four tiles; JPEG leaves 0.7, enlarging twice 0.1
LEVEL = 16  # of 255; JPEG alone changes less
NEARLY_ALL, NEARLY_NONE = 0.95, 0.0005  # of the pixels; half a thousandth is a square of 11 in 512
SEEN = 512  # px; side at which differences are looked at
SHARP = 1024  # px; side at which detail is looked at
TILES = 4  # a side; detail is compared in each, so that the edit itself does not count
TEXTURE = 4.0  # levels²; below, a tile is flat


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
    if unlike(before.size, after.size):
        (w, h), (w2, h2) = before.size, after.size
        turned = abs(w * w2 - h * h2) <= SHAPES * w * w2
        why = "one of them is turned" if turned else "the two are cut differently"
        sizes = f"{w} x {h} px and {w2} x {h2} px"
        refusal = f"{sizes} are two shapes: {why}; both must show the same part"
        return Comparison(refusal=refusal, doubts=())
    doubts = [] if (doubt := _sizes(before, after)) is None else [doubt]
    side = min(*before.size, *after.size)
    sharp = [_squeezed(image, min(side, SHARP)) for image in (before, after)]
    seen = [_squeezed(image, min(side, SEEN)) for image in sharp]
    # Squeezed, a picture that is turned a little would look slanted.
    gray = [
        square(square(image, min(side, SHARP)), min(side, SEEN)).convert("L")
        for image in (before, after)
    ]
    for doubt in (
        misaligned(*gray, side / gray[0].width),
        _blurred(*(image.convert("L") for image in sharp)),
        _share(*seen),
    ):
        if doubt:
            doubts.append(doubt)
    return Comparison(refusal=None, doubts=doubts)


def unlike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Say whether two widths and heights differ in shape by more than rounding."""
    (w, h), (w2, h2) = one, other
    # One px more or less on a side is rounding, however small the picture.
    return abs(w * h2 - w2 * h) > max(SHAPES * w * h2, w, h, w2, h2)


def _squeezed(image: Image.Image, side: int) -> Image.Image:
    """Squeeze a picture to a square, and reduce it."""
    if image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.BOX)


def _sizes(before: Image.Image, after: Image.Image) -> str | None:
    """Say that one side is much larger."""
    factor = after.width / before.width
    if 1 / SIZES < factor < SIZES:
        return None
    sizes = f"{before.width} x {before.height} px and {after.width} x {after.height} px"
    return f"{sizes}: one side is {max(factor, 1 / factor):.1f} times as large, and may be sharper"


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

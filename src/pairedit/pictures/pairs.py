"""Own pairs.png: what the model sees of each pair, and where its two sides differ."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageChops

from pairedit.data.examples import Pair
from pairedit.data.images import load_images
from pairedit.data.masks import load_mask
from pairedit.data.shapes import Sizing, counted
from pairedit.pictures.sheet import contact_sheet

MOST = 12  # pairs on a sheet
LOUDEST = 16  # times that a difference is amplified at most, or JPEG's noise would look like one
COVERED = "#d4d4d8"
CLIPPED = 0.001  # of a difference's values may be too bright to show


def draw_pairs(pairs: Sequence[Pair], sizing: Sizing, *, title: str) -> Image.Image:
    """Arrange pairs as a captioned sheet: source, target, and how far they are apart.

    Args:
        pairs: at least one; the first `MOST` are shown.
        sizing: what they are brought to, as for training.
        title: of the sheet.
    """
    shown = [load_images(pair.images, sizing) for pair in pairs[:MOST]]
    apart = [ImageChops.difference(*sides) for sides in shown]
    louder = _amplification(apart)
    rows = [
        [*sides, difference.point(lambda value: min(255, value * louder))]
        for sides, difference in zip(shown, apart, strict=True)
    ]
    masks = [
        pair.mask and _through(load_mask(pair.mask, pair.source, sizing), sides[0])
        for pair, sides in zip(pairs, shown, strict=False)
    ]
    count = f"{len(pairs)} pair{'s' * (len(pairs) > 1)}"
    if len(pairs) > MOST:
        count = f"the first {MOST} of {count}, {len(pairs) - MOST} left out"
    heads = ["source", "target", "difference" + f" x {louder}" * (louder > 1)]
    if any(masks):
        rows = [[*row, mask] for row, mask in zip(rows, masks, strict=True)]
        heads.append("in the mask")
    labels = [pair.stem for pair in pairs[:MOST]]
    sizes = [sides[0].size[::-1] for sides in shown]
    return contact_sheet(rows, labels, heads, f"{title}: {count}, {counted(sizes)}")


def _through(mask: Image.Image, picture: Image.Image) -> Image.Image:
    """Show what a mask leaves free of a picture; paper is white, so the rest is gray."""
    return Image.composite(picture, Image.new("RGB", picture.size, COVERED), mask)


def _amplification(differences: Sequence[Image.Image]) -> int:
    """Return by how much all differences can be multiplied without being clipped: 1, 2, 4..."""
    counts = [sum(level) for level in zip(*(_levels(image) for image in differences), strict=True)]
    louder = 1
    while louder < LOUDEST and sum(counts[255 // (2 * louder) + 1 :]) <= CLIPPED * sum(counts):
        louder *= 2
    return louder


def _levels(image: Image.Image) -> list[int]:
    """Count the values of all three channels together."""
    counts = image.histogram()
    return [sum(counts[level::256]) for level in range(256)]

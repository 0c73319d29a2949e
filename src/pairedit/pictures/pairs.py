"""Own pairs.png: what the model sees of each pair, and where its two sides differ."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageChops

from pairedit.data.examples import Pair
from pairedit.data.images import load_image
from pairedit.pictures.sheet import contact_sheet
from pairedit.settings import Size

MOST = 12  # pairs on a sheet
LOUDEST = 16  # times that a difference is amplified at most, or JPEG's noise would look like one
CLIPPED = 0.001  # of a difference's values may be too bright to show


def draw_pairs(pairs: Sequence[Pair], size: Size, *, title: str) -> Image.Image:
    """Arrange pairs as a captioned sheet: source, target, and how far they are apart.

    Args:
        pairs: at least one; the first `MOST` are shown.
        size: height and width in px that they are cut and resized to, as for training.
        title: of the sheet.
    """
    shown = [[load_image(path, size) for path in pair.images] for pair in pairs[:MOST]]
    apart = [ImageChops.difference(*sides) for sides in shown]
    louder = _amplification(apart)
    rows = [
        [*sides, difference.point(lambda value: min(255, value * louder))]
        for sides, difference in zip(shown, apart, strict=True)
    ]
    count = f"{len(pairs)} pair{'s' * (len(pairs) > 1)}"
    if len(pairs) > MOST:
        count = f"the first {MOST} of {count}, {len(pairs) - MOST} left out"
    heads = ["source", "target", "difference" + f" x {louder}" * (louder > 1)]
    labels = [pair.stem for pair in pairs[:MOST]]
    return contact_sheet(rows, labels, heads, f"{title}: {count}, {size[1]} x {size[0]} px")


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

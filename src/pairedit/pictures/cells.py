"""Own what a sheet shows in a cell: pictures at a size to look at, and maps of what changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageChops

# A picture is shown as large as a square of a side between these, in px: small models' pictures
# twice as large as they are, large ones reduced.
SMALL, LARGE = 192, 512
LOUDEST = 16  # times that a difference is amplified at most, or JPEG's noise would look like one
CLIPPED = 0.001  # of a difference's values may be too bright to show
SATURATED = 0.02  # the same of maps, which show where rather than how much
# From no change to the largest: paper, then ever darker. Light and dark alone tell them apart.
CHANGE = ((255, 255, 255), (253, 208, 162), (241, 105, 19), (127, 39, 4))


def fitted(image: Image.Image) -> Image.Image:
    """Return a picture at the size that sheets show it at."""
    side = math.sqrt(image.width * image.height)
    if side <= SMALL:
        size = 2 * image.width, 2 * image.height
    elif side > LARGE:
        size = round(image.width * LARGE / side), round(image.height * LARGE / side)
    else:
        return image
    return image.resize(size, Image.Resampling.LANCZOS)


def amplification(differences: Sequence[Image.Image], clipped: float = CLIPPED) -> int:
    """Return by how much all differences can be multiplied: 1, 2, 4...

    Args:
        differences: of one mode.
        clipped: share of their values that may become too large to show.
    """
    levels = (_levels(image) for image in differences)
    counts = [sum(level) for level in zip(*levels, strict=True)]
    louder = 1
    while louder < LOUDEST and sum(counts[255 // (2 * louder) + 1 :]) <= clipped * sum(counts):
        louder *= 2
    return louder


def difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """Return the largest difference of the three channels at each pixel, in gray."""
    channels = ImageChops.difference(before, after).split()
    largest = channels[0]
    for channel in channels[1:]:
        largest = ImageChops.lighter(largest, channel)
    return largest


def change_map(gray: Image.Image, louder: int) -> Image.Image:
    """Colour a difference: paper where nothing changed, the darker the more.

    Args:
        gray: see `difference`.
        louder: how many times it is amplified.
    """
    shades = [_shade(min(1.0, level * louder / 255)) for level in range(256)]
    table = [shade[channel] for channel in range(3) for shade in shades]
    return Image.merge("RGB", [gray] * 3).point(table)


def _shade(share: float) -> tuple[int, ...]:
    """Return the colour of a share of the largest change."""
    place = share * (len(CHANGE) - 1)
    left = min(int(place), len(CHANGE) - 2)
    return tuple(
        round(a + (b - a) * (place - left))
        for a, b in zip(CHANGE[left], CHANGE[left + 1], strict=True)
    )


def _levels(image: Image.Image) -> list[int]:
    """Count the values of all channels together."""
    counts = image.histogram()
    return [sum(counts[level::256]) for level in range(256)]

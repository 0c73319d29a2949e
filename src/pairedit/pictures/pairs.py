"""Own how pairs are shown: above a sheet, and as pairs.png, where their two sides differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops

from pairedit.data.examples import Pair
from pairedit.data.images import load_images
from pairedit.data.masks import load_mask
from pairedit.data.shapes import Sizing, counted
from pairedit.pictures.cells import amplification, fitted
from pairedit.pictures.sheet import Block, contact_sheet, type_size

MOST = 12  # pairs on a sheet of their own
FEW = 3  # above another sheet
COVERED = "#d4d4d8"
SMALLEST = 0.5  # of a cell below: so small are pairs at least, where the sheet is narrow


@dataclass(frozen=True, kw_only=True)
class Band:
    """Hold the pairs that stand above a sheet."""

    sides: Sequence[Sequence[Image.Image]]  # at least one pair, before and after at one size
    label: str

    def block(self, *, width: int, cell: Image.Image) -> Block:
        """Arrange them in one row.

        Args:
            width: px that there is room for.
            cell: a picture of the sheet below; those of the pairs are not higher.
        """
        images = [image for sides in self.sides for image in sides]
        width -= 2 * type_size(cell.size) * len(self.sides)
        room = width / sum(image.width / image.height for image in images)  # the height that fits
        height = round(min(cell.height, max(room, SMALLEST * cell.height)))
        row = [
            image.resize(
                (round(image.width * height / image.height), height), Image.Resampling.LANCZOS
            )
            for image in images
        ]
        heads = ["before", "after"] * len(self.sides)
        return Block(rows=[row], row_labels=[self.label], column_labels=heads, tied=2)


def band_of(pairs: Sequence[Pair], sizing: Sizing, name: str = "") -> Band:
    """Read the pairs that stand above a sheet.

    Args:
        pairs: all of them, at least one.
        sizing: what they are brought to, as for training.
        name: of the edit, where a sheet has several.

    Raises:
        ValueError: names the file that cannot be read.
    """
    count = f"{len(pairs)} pair{'s' * (len(pairs) > 1)}"
    count = count if len(pairs) <= FEW else f"{FEW} of {count}"
    return Band(
        sides=[load_images(pair.images, sizing) for pair in pairs[:FEW]],
        label=f"{name}\n{count}" if name else count,
    )


def draw_pairs(pairs: Sequence[Pair], sizing: Sizing, *, title: str) -> Image.Image:
    """Arrange pairs as a captioned sheet: source, target, and how far they are apart.

    Args:
        pairs: at least one; the first `MOST` are shown.
        sizing: what they are brought to, as for training.
        title: of the sheet.
    """
    shown = [load_images(pair.images, sizing) for pair in pairs[:MOST]]
    apart = [ImageChops.difference(*sides) for sides in shown]
    louder = amplification(apart)
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
    rows = [[image and fitted(image) for image in row] for row in rows]
    labels = [pair.stem for pair in pairs[:MOST]]
    sizes = [sides[0].size[::-1] for sides in shown]
    return contact_sheet(rows, labels, heads, f"{title}: {count}, {counted(sizes)}")


def _through(mask: Image.Image, picture: Image.Image) -> Image.Image:
    """Show what a mask leaves free of a picture; paper is white, so the rest is gray."""
    return Image.composite(picture, Image.new("RGB", picture.size, COVERED), mask)

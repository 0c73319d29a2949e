"""Own the picture of many seeds: each as two images side by side, with a line below."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from pairedit.pictures.cells import fitted
from pairedit.pictures.lettering import text_width, write_text
from pairedit.pictures.pairs import Band
from pairedit.pictures.sheet import PAPER, QUIET, Block, arrange, type_size

SHAPE = 1.6  # width of the picture to its height, about


def draw_overview(
    cells: Sequence[tuple[Image.Image, Image.Image]],
    labels: Sequence[str],
    *,
    title: str,
    bands: Sequence[Band] = (),
) -> Image.Image:
    """Arrange pairs of images in lines from the left, in their order.

    Args:
        cells: at least one pair of images.
        labels: one for each, written below it.
        title: of the picture.
        bands: the pairs, above.
    """
    cells = [(fitted(left), fitted(right)) for left, right in cells]
    joined = [_joined(*cell, label) for cell, label in zip(cells, labels, strict=True)]
    width, height = joined[0].size
    columns = min(len(joined), max(1, round(math.sqrt(SHAPE * len(joined) * height / width))))
    filled = [*joined, *[None] * (-len(joined) % columns)]
    rows = [filled[start : start + columns] for start in range(0, len(filled), columns)]
    many = Block(rows=rows, row_labels=[""] * len(rows), column_labels=[""] * columns)
    above = [[band.block(width=columns * width, cell=cells[0][0])] for band in bands]
    return arrange([*above, [many]], title)


def _joined(left: Image.Image, right: Image.Image, label: str) -> Image.Image:
    """Put two images side by side, and a line below them."""
    size = type_size(left.size)
    width, height = left.width + right.width, max(left.height, right.height)
    cell = Image.new("RGB", (width, height + round(1.6 * size)), PAPER)
    cell.paste(left, (0, 0))
    cell.paste(right, (left.width, 0))
    middle = max(0, (width - text_width(size, label)) // 2)
    write_text(cell, label, size, QUIET, middle, height + size // 5)
    return cell

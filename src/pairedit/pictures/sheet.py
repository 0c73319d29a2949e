"""Own contact sheets: blocks of images on captioned grids, below and beside each other.

A sheet shows every image at the pixels that it is given: rows and columns are as high and wide as
their largest image, type follows the image size, and text wraps, then ends in an ellipsis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from pairedit.data.colour import flatten
from pairedit.pictures.lettering import LEADING, lines_of, width_of, wrap, write

PAPER, EMPTY = "#ffffff", "#f5f5f6"
INK, QUIET, ACCENT = "#18181b", "#52525b", "#0072b2"
LINES = 3  # a label or title takes at most so many lines, an ellipsis stands for the rest

Row = Sequence[Image.Image | None]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Hold one grid of images; see `contact_sheet`."""

    rows: Sequence[Row]
    row_labels: Sequence[str]
    column_labels: Sequence[str]
    framed: int | None = None  # the column that has a frame around it
    tied: int = 1  # so many columns belong together; a wide gap follows them

    def __post_init__(self) -> None:
        """Refuse labels that are not as many as what they name.

        Raises:
            ValueError: says which.
        """
        if len(self.rows) != len(self.row_labels):
            raise ValueError(f"{len(self.rows)} rows with {len(self.row_labels)} row labels")
        for label, row in zip(self.row_labels, self.rows, strict=True):
            if len(row) != len(self.column_labels):
                raise ValueError(
                    f"row {label!r} has {len(row)} images, "
                    f"there are {len(self.column_labels)} columns"
                )

    @property
    def images(self) -> list[Image.Image]:
        """List the images, row by row."""
        return [image for row in self.rows for image in row if image is not None]


@dataclass(frozen=True, kw_only=True)
class _Type:
    """Hold the measures of a sheet in px, which all follow the size of its type."""

    size: int

    @property
    def gutter(self) -> int:
        """Give what is between two images."""
        return max(2, round(self.size / 3))

    @property
    def gap(self) -> int:
        """Give what is between images and labels."""
        return round(self.size * 0.75)

    def height(self, lines: int) -> int:
        """Give the height of so many lines."""
        return round(lines * self.size * LEADING)


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Hold a block with the place of everything in it."""

    block: Block
    type: _Type
    label_width: int  # of the row labels
    widths: Sequence[int]
    heights: Sequence[int]

    @property
    def left(self) -> int:
        """Give where the images begin."""
        return self.label_width + 2 * self.type.gap if self.label_width else 0

    @property
    def xs(self) -> list[int]:
        """Give where each column begins."""
        x, places, type_ = self.left, [], self.type
        for number, width in enumerate(self.widths, 1):
            places.append(x)
            x += width + (type_.gutter if number % self.block.tied else self._apart)
        return places

    @property
    def _apart(self) -> int:
        """Give what is between columns that do not belong together."""
        return self.type.gutter if self.block.tied == 1 else 2 * self.type.size

    @property
    def column_texts(self) -> list[list[str]]:
        """Break the labels of the columns."""
        labels = zip(self.block.column_labels, self.widths, strict=True)
        return [wrap(label, self.type.size, width, LINES) for label, width in labels]

    @property
    def top(self) -> int:
        """Give where the images begin, below the labels of their columns."""
        lines = max(len(text) for text in self.column_texts)
        return self.type.height(lines) + self.type.gap // 2 if lines else 0

    @property
    def width(self) -> int:
        """Give the width, labels included."""
        return self.xs[-1] + self.widths[-1]

    @property
    def height(self) -> int:
        """Give the height, labels included."""
        return self.top + sum(self.heights) + self.type.gutter * (len(self.heights) - 1)

    def draw(self, sheet: Image.Image, left: int, top: int) -> None:
        """Draw everything, the left upper corner at a place of the sheet."""
        size, y = self.type.size, top + self.top
        for row, label, height in zip(
            self.block.rows, self.block.row_labels, self.heights, strict=True
        ):
            fits = max(1, min(LINES + 2, int(height / (size * LEADING))))
            text = wrap(label, size, self.label_width, fits)
            write(sheet, text, size, QUIET, left, y + (height - self.type.height(len(text))) // 2)
            for image, x, width in zip(row, self.xs, self.widths, strict=True):
                _paste(sheet, image, (left + x, y, width, height))
            y += height + self.type.gutter
        bottom = top + self.top - self.type.gap // 2
        for number, (text, x, width) in enumerate(
            zip(self.column_texts, self.xs, self.widths, strict=True)
        ):
            colour = ACCENT if number == self.block.framed else QUIET
            above = bottom - self.type.height(len(text))
            write(sheet, text, size, colour, left + x, above, centre=width)
        if self.block.framed is not None:
            self._frame(sheet, left + self.xs[self.block.framed], top)

    def _frame(self, sheet: Image.Image, x: int, top: int) -> None:
        """Draw a frame around a column, in the gutters around it."""
        thick = max(2, round(self.type.size / 7))
        off = (self.type.gutter + thick) // 2
        right = x + self.widths[self.block.framed] - 1
        box = (x - off, top + self.top - off, right + off, top + self.height - 1 + off)
        ImageDraw.Draw(sheet).rectangle(box, outline=ACCENT, width=thick)


def contact_sheet(
    rows: Sequence[Row],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str | None = None,
) -> Image.Image:
    """Lay images out on a captioned grid.

    Args:
        rows: images of any size and mode; None leaves an empty cell.
        row_labels: one for each row, at its left; all empty drops the label column.
        column_labels: one for each column, above it; all empty drops the label line.
        title: above everything.

    Returns:
        An RGB image.

    Raises:
        ValueError: labels and rows disagree in number, or there is no image.
    """
    block = Block(rows=rows, row_labels=row_labels, column_labels=column_labels)
    return arrange([[block]], title)


def arrange(lines: Sequence[Sequence[Block]], title: str | None = None) -> Image.Image:
    """Lay blocks out below each other, or beside each other in one line; see `contact_sheet`.

    Args:
        lines: blocks from the left to the right, lines downwards.
        title: above everything.
    """
    images = [image for line in lines for block in line for image in block.images]
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    largest = max(image.width for image in images), max(image.height for image in images)
    size = type_size(largest)
    title_size, margin = round(size * 1.5), 2 * size
    placed = _grids(lines, size, largest)
    wide = max(sum(grid.width for grid in line) + margin * (len(line) - 1) for line in placed)
    title_width = max((width_of(title_size, line) for line in lines_of(title or "")), default=0)
    # A sheet of few small images is widened a little, so that its title is not chopped up.
    inner = max(wide, min(title_width, 30 * size))
    title_lines = wrap(title or "", title_size, inner, LINES)
    top = margin
    if title_lines:
        top += round(len(title_lines) * title_size * LEADING) + size
    tall = sum(max(grid.height for grid in line) for line in placed) + margin * (len(placed) - 1)
    sheet = Image.new("RGB", (inner + 2 * margin, top + tall + margin), PAPER)
    write(sheet, title_lines, title_size, INK, margin, margin)
    for line in placed:
        left = margin
        for grid in line:
            grid.draw(sheet, left, top)
            left += grid.width + margin
        top += max(grid.height for grid in line) + margin
    return sheet


def type_size(cell: tuple[int, int]) -> int:
    """Return the size of the type beside cells of so many px."""
    return round(min(max(min(cell) * 0.1, 12), 48))


def width_of_images(line: Sequence[Block]) -> int:
    """Return how wide the images of a line of blocks are together, without any labels."""
    return sum(
        max((image.width for image in column if image is not None), default=0)
        for block in line
        for column in zip(*block.rows, strict=True)
    )


def _grids(
    lines: Sequence[Sequence[Block]], size: int, largest: tuple[int, int]
) -> list[list[_Grid]]:
    """Measure blocks; the images of all of them begin equally far right of their labels."""
    labels = [label for line in lines for block in line for label in block.row_labels]
    widest = max((width_of(size, text) for label in labels for text in lines_of(label)), default=0)
    # The label column is as wide as its text asks for, within limits; the rest wraps.
    label_width = min(widest, max(12 * size, largest[0]))
    return [
        [
            _Grid(
                block=block,
                type=_Type(size=size),
                label_width=label_width,
                widths=[
                    _largest([image and image.width for image in column], largest[0])
                    for column in zip(*block.rows, strict=True)
                ],
                heights=[
                    _largest([image and image.height for image in row], largest[1])
                    for row in block.rows
                ],
            )
            for block in line
        ]
        for line in lines
    ]


def _paste(sheet: Image.Image, image: Image.Image | None, cell: tuple[int, int, int, int]) -> None:
    """Put an image into the middle of its cell: left, top, width and height."""
    x, y, width, height = cell
    if image is None:
        sheet.paste(EMPTY, (x, y, x + width, y + height))
    else:
        middle = x + (width - image.width) // 2, y + (height - image.height) // 2
        sheet.paste(flatten(image), middle)


def _largest(sizes: Sequence[int | None], default: int) -> int:
    """Give the largest size of a row or column, or the default when all its cells are empty."""
    return max((size for size in sizes if size is not None), default=default)

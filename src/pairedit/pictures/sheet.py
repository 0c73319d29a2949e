"""Own the pictures a user looks at: contact sheets, slider animations, PNGs with metadata.

A sheet shows every image at its own pixels: rows and columns are as high and wide as their
largest image, type follows the image size, and text wraps, then ends in an ellipsis.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from pairedit.data.colour import flatten

PAPER, EMPTY = "#ffffff", "#f5f5f6"
INK, QUIET = "#18181b", "#52525b"
LINES = 3  # a label or title takes at most so many lines, an ellipsis stands for the rest
LEADING = 1.3  # line pitch in units of the type size
SHARPER = 4  # type is drawn so many times larger, then reduced: small sizes keep their spacing
# Signs that Pillow's bundled font lacks; accents are dropped, anything else becomes "?".
FOLDED = str.maketrans("−–—×→←·•ß", "---x><··s", "\u200b\ufeff")


def contact_sheet(
    rows: Sequence[Sequence[Image.Image | None]],
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
    images = _images(rows, row_labels, column_labels)
    largest = max(image.width for image in images), max(image.height for image in images)
    columns = list(zip(*rows, strict=True))
    widths = [_largest([image and image.width for image in c], largest[0]) for c in columns]
    heights = [_largest([image and image.height for image in r], largest[1]) for r in rows]

    size = round(min(max(min(largest) * 0.085, 12), 40))
    title_size = round(size * 1.5)
    margin, gutter, gap = 2 * size, max(2, round(size / 3)), round(size * 0.75)

    # The label column is as wide as its text asks for, within limits; the rest wraps.
    widest = max((_width(size, line) for label in row_labels for line in _lines(label)), default=0)
    label_width = min(widest, max(12 * size, largest[0]))
    row_texts = [
        _wrap(label, size, label_width, max(1, min(LINES + 2, int(height / (size * LEADING)))))
        for label, height in zip(row_labels, heights, strict=True)
    ]
    column_texts = [
        _wrap(label, size, width, LINES) for label, width in zip(column_labels, widths, strict=True)
    ]
    left = margin + (label_width + 2 * gap if label_width else 0)
    grid_width = sum(widths) + gutter * (len(widths) - 1)
    title_width = max((_width(title_size, line) for line in _lines(title or "")), default=0)
    # A sheet of few small images is widened a little, so that its title is not chopped up.
    inner = max(left - margin + grid_width, min(title_width, 30 * size))
    title_lines = _wrap(title or "", title_size, inner, LINES)

    top = margin
    if title_lines:
        top += round(len(title_lines) * title_size * LEADING) + size
    header = max(len(text) for text in column_texts)
    if header:
        top += round(header * size * LEADING) + gap // 2
    sheet = Image.new(
        "RGB",
        (inner + 2 * margin, top + sum(heights) + gutter * (len(heights) - 1) + margin),
        PAPER,
    )
    _write(sheet, title_lines, title_size, INK, margin, margin)

    y = top
    for row, text, height in zip(rows, row_texts, heights, strict=True):
        block = round(len(text) * size * LEADING)
        _write(sheet, text, size, QUIET, margin, y + (height - block) // 2)
        _paste(sheet, row, widths, height, (left, y), gutter)
        y += height + gutter

    x = left
    for text, width in zip(column_texts, widths, strict=True):
        y = top - gap // 2 - round(len(text) * size * LEADING)
        _write(sheet, text, size, QUIET, x, y, centre=width)
        x += width + gutter
    return sheet


def _images(
    rows: Sequence[Sequence[Image.Image | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> list[Image.Image]:
    """List the images of a grid; see `contact_sheet`."""
    if len(rows) != len(row_labels):
        raise ValueError(f"{len(rows)} rows with {len(row_labels)} row labels")
    for label, row in zip(row_labels, rows, strict=True):
        if len(row) != len(column_labels):
            raise ValueError(
                f"row {label!r} has {len(row)} images, there are {len(column_labels)} columns"
            )
    images = [image for row in rows for image in row if image is not None]
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    return images


def _paste(
    sheet: Image.Image,
    row: Sequence[Image.Image | None],
    widths: Sequence[int],
    height: int,
    corner: tuple[int, int],
    gutter: int,
) -> None:
    """Put the images of one row into the middles of their cells."""
    x, y = corner
    for image, width in zip(row, widths, strict=True):
        if image is None:
            sheet.paste(EMPTY, (x, y, x + width, y + height))
        else:
            middle = x + (width - image.width) // 2, y + (height - image.height) // 2
            sheet.paste(flatten(image), middle)
        x += width + gutter


def _largest(sizes: Sequence[int | None], default: int) -> int:
    """Give the largest size of a row or column, or the default when all its cells are empty."""
    return max((size for size in sizes if size is not None), default=default)


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load Pillow's bundled scalable font, `SHARPER` times a size in px."""
    return ImageFont.load_default(size=SHARPER * size)


@lru_cache(maxsize=4096)
def _drawable(letter: str) -> bool:
    """Tell whether the bundled font has a letter: it draws a box for those that it lacks."""
    font = _font(8)
    mask, box = font.getmask(letter), font.getmask("\uffff")
    return (mask.size, bytes(mask)) != (box.size, bytes(box))


def _lines(text: str) -> list[str]:
    """Split text at its line breaks, in letters that the bundled font has."""
    spelt = []
    for letter in text.translate(FOLDED):
        # The base letter of an accented one; combining marks vanish.
        parts = (
            letter if letter == "\n" or _drawable(letter) else unicodedata.normalize("NFKD", letter)
        )
        for part in parts:
            if unicodedata.combining(part):
                continue
            known = part.isspace() or _drawable(part)
            spelt.append(part if known else "?")
    lines = [" ".join(line.split()) for line in "".join(spelt).split("\n")]
    return [line for line in lines if line]


def _width(size: int, text: str) -> int:
    """Measure a line in px, rounded up."""
    return math.ceil(_font(size).getlength(text) / SHARPER)


def _wrap(text: str, size: int, width: int, limit: int) -> list[str]:
    """Break text into at most `limit` lines of `width` px; the last ends in … when text is left."""
    lines: list[str] = []
    for paragraph in _lines(text):
        line = ""
        for word in paragraph.split(" "):
            joined = f"{line} {word}" if line else word
            if _width(size, joined) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            # A word longer than a line is broken, preferably behind a separator.
            while _width(size, word) > width and len(word) > 1:
                places = range(1, len(word))
                fit = max(1, bisect(places, width, key=lambda n, word=word: _width(size, word[:n])))
                seam = max(word.rfind(mark, 0, fit) for mark in "_-/.,=") + 1
                cut = seam if seam > fit // 2 else fit
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    if len(lines) <= limit:
        return lines
    last = lines[limit - 1]
    while last and _width(size, last.rstrip() + "…") > width:
        last = last[:-1]
    return [*lines[: limit - 1], last.rstrip() + "…"]


def _write(
    sheet: Image.Image,
    lines: Sequence[str],
    size: int,
    colour: str,
    x: int,
    y: int,
    centre: int = 0,
) -> None:
    """Write lines downwards from y, at x or centred over the `centre` px right of it."""
    for index, line in enumerate(lines):
        width = _width(size, line)
        shift = max(0, (centre - width) // 2) if centre else 0
        # Room for a descender below the baseline, which lies one type size below the line's top.
        large = Image.new("L", (SHARPER * (width + size), SHARPER * 2 * size))
        ImageDraw.Draw(large).text((0, SHARPER * size), line, 255, _font(size), "ls")
        mask = large.reduce(SHARPER)
        sheet.paste(colour, (x + shift, y + round(index * size * LEADING)), mask)


def text_width(size: int, text: str) -> int:
    """Measure a line in px, as `write_text` writes it."""
    return max((_width(size, line) for line in _lines(text)), default=0)


def write_text(sheet: Image.Image, text: str, size: int, colour: str, x: float, y: float) -> None:
    """Write one line, its left upper corner at (x, y)."""
    _write(sheet, _lines(text), size, colour, round(x), round(y))

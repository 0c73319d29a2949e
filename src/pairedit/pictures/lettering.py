"""Own type: text in the bundled font, measured, wrapped and written onto a picture."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

LEADING = 1.3  # line pitch in units of the type size
SHARPER = 4  # type is drawn so many times larger, then reduced: small sizes keep their spacing
# Signs that Pillow's bundled font lacks; accents are dropped, anything else becomes "?".
FOLDED = str.maketrans("−–—×→←·•ß", "---x><··s", "\u200b\ufeff")


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


def lines_of(text: str) -> list[str]:
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


def width_of(size: int, text: str) -> int:
    """Measure a line in px, rounded up."""
    return math.ceil(_font(size).getlength(text) / SHARPER)


def wrap(text: str, size: int, width: int, limit: int) -> list[str]:
    """Break text into at most `limit` lines of `width` px; the last ends in … when text is left."""
    lines: list[str] = []
    for paragraph in lines_of(text):
        line = ""
        for word in paragraph.split(" "):
            joined = f"{line} {word}" if line else word
            if width_of(size, joined) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            # A word longer than a line is broken, preferably behind a separator.
            while width_of(size, word) > width and len(word) > 1:
                places = range(1, len(word))
                fit = max(
                    1, bisect(places, width, key=lambda n, word=word: width_of(size, word[:n]))
                )
                seam = max(word.rfind(mark, 0, fit) for mark in "_-/.,=") + 1
                cut = seam if seam > fit // 2 else fit
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    if len(lines) <= limit:
        return lines
    last = lines[limit - 1]
    while last and width_of(size, last.rstrip() + "…") > width:
        last = last[:-1]
    return [*lines[: limit - 1], last.rstrip() + "…"]


def write(
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
        width = width_of(size, line)
        shift = max(0, (centre - width) // 2) if centre else 0
        # Room for a descender below the baseline, which lies one type size below the line's top.
        large = Image.new("L", (SHARPER * (width + size), SHARPER * 2 * size))
        ImageDraw.Draw(large).text((0, SHARPER * size), line, 255, _font(size), "ls")
        mask = large.reduce(SHARPER)
        sheet.paste(colour, (x + shift, y + round(index * size * LEADING)), mask)


def text_width(size: int, text: str) -> int:
    """Measure a line in px, as `write_text` writes it."""
    return max((width_of(size, line) for line in lines_of(text)), default=0)


def write_text(sheet: Image.Image, text: str, size: int, colour: str, x: float, y: float) -> None:
    """Write one line, its left upper corner at (x, y)."""
    write(sheet, lines_of(text), size, colour, round(x), round(y))

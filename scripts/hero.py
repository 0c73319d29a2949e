"""Arrange the wide picture of the README: three pairs, a person along the slider, a drawn portrait.

`python scripts/pictures.py hero` draws it. Faces are few and large, so that they are told on a
phone, where the picture is 360 px wide.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from pairedit.pictures.lettering import text_width, write_text
from pairedit.pictures.sheet import ACCENT, INK, PAPER, QUIET

CELL, GAP, MARGIN = 304, 12, 20  # px
HEAD, TYPE = 46, 40  # px; a quarter of it on a phone
WORDS = ("-0.5 pair", "the person", "0.5 pair", "1 pair", "1.5 pairs")


def draw(
    edit: str,
    sides: Sequence[Image.Image],
    person: Sequence[Image.Image],
    photo: Sequence[Image.Image],
) -> Image.Image:
    """Arrange everything; three lines, each below a few words.

    Args:
        edit: its name.
        sides: of the pairs, before and after in turn.
        person: worth -0.5, 0, 0.5, 1 and 1.5 pairs.
        photo: the same, but at 0 the photograph itself.
    """
    width = 5 * CELL + 4 * GAP
    side = min(CELL, (width - 2 * 3 * GAP - 3 * GAP // 2) // len(sides))
    line = round(1.5 * HEAD)
    height = 3 * line + side + 2 * CELL + round(1.6 * TYPE) + 4 * GAP
    sheet = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), PAPER)
    y = MARGIN
    count = len(sides) // 2
    _say(sheet, f"Learnt from {count} pair{'s' * (count > 1)}: before, after", y)
    y, x = y + line, MARGIN
    for number, image in enumerate(sides):
        _put(sheet, image, x, y, side)
        x += side + (GAP // 2 if number % 2 == 0 else 3 * GAP)
    y += side + 2 * GAP
    _say(sheet, f"The {edit} slider on someone else", y)
    y += line
    for number, (image, words) in enumerate(zip(person, WORDS, strict=True)):
        x = MARGIN + number * (CELL + GAP)
        _put(sheet, image, x, y, CELL)
        colour = ACCENT if words == "1 pair" else QUIET
        left = x + (CELL - text_width(TYPE, words)) // 2
        write_text(sheet, words, TYPE, colour, left, y + CELL + 4)
    one = MARGIN + 3 * (CELL + GAP)
    y += CELL + round(1.6 * TYPE)
    _say(sheet, "On a portrait that the model never saw", y)
    y += line
    for number, image in enumerate(photo):
        _put(sheet, image, MARGIN + number * (CELL + GAP), y, CELL)
    for top in (y - CELL - line - round(1.6 * TYPE), y):
        box = (one - 7, top - 7, one + CELL + 6, top + CELL + 6)
        ImageDraw.Draw(sheet).rectangle(box, outline=ACCENT, width=6)
    return sheet


def _say(sheet: Image.Image, text: str, y: int) -> None:
    write_text(sheet, text, HEAD, INK, MARGIN, y)


def _put(sheet: Image.Image, image: Image.Image, x: int, y: int, side: int) -> None:
    sheet.paste(image.resize((side, side), Image.Resampling.LANCZOS), (x, y))

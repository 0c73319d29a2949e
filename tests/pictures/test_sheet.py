"""Contact sheets: labels fit, images stay as they are."""

import itertools

import numpy as np
import pytest
from PIL import Image

from pairedit.pictures import lettering
from pairedit.pictures import sheet as sheets
from tiny import noise

MAGENTA = (255, 0, 255)
LONG = "an old man with glasses, a beard and a wide smile, photographed at night by the sea " * 4
UNBROKEN = "run_2026-checkpoint" * 12
LABELS = [
    "",
    "a",
    "seed 12\nimage of a person",
    LONG,
    UNBROKEN,
    "\u00c9va \u2212 \u65e5\u672c",
    "\n\n",
]


def cells(sheet: Image.Image) -> np.ndarray:
    return (np.asarray(sheet) == MAGENTA).all(-1)


@pytest.mark.parametrize("side", [64, 128, 512])  # from 471 px on type has one size
@pytest.mark.parametrize("label", LABELS)
def test_labels_never_touch_images_or_edges(side: int, label: str) -> None:
    rows = [[Image.new("RGB", (side, side), MAGENTA)] * 2] * 2
    sheet = sheets.contact_sheet(rows, [label, "b"], [label, "b"], title=label)
    pixels, inside = np.asarray(sheet), cells(sheet)
    assert inside.sum() == 4 * side * side
    # A blank frame on all sides: nothing is cut off.
    frame = side // 8 if side < 512 else 60
    assert (np.concatenate([pixels[:frame], pixels[-frame:]]) == 255).all()
    assert (np.concatenate([pixels[:, :frame], pixels[:, -frame:]], axis=1) == 255).all()
    # Labels keep off the images by some pixels, above and to the left.
    top, left = np.argwhere(inside).min(axis=0)
    assert (pixels[top - 2 : top, left:] == 255).all()
    assert (pixels[top:, left - 8 : left] == 255).all()
    # Between two columns and two rows there is nothing but paper.
    assert (pixels[top:, left + side : left + side + 2] == 255).all()
    # Type never reaches right of the grid into the next label.
    ink = (pixels < 200).any(-1) & ~inside
    assert ink.any()
    assert sheet.width < 4.5 * side + 400


def test_images_are_placed_unchanged_and_in_order() -> None:
    rows = [[noise(10 * row + column) for column in range(3)] for row in range(2)]
    sheet = np.asarray(sheets.contact_sheet(rows, ["", ""], ["", "", ""]))
    # Without labels the grid starts at the margin: twice the type size of 12 px.
    for (row, column), y, x in zip(
        itertools.product(range(2), range(3)), [24] * 3 + [60] * 3, [24, 60, 96] * 2, strict=True
    ):
        np.testing.assert_array_equal(sheet[y : y + 32, x : x + 32], rows[row][column])
    assert sheet.shape == (24 + 32 + 4 + 32 + 24, 24 + 3 * 32 + 2 * 4 + 24, 3)


def test_every_label_is_drawn_and_changes_only_its_place() -> None:
    image = Image.new("RGB", (128, 128), MAGENTA)
    texts = ["row", "column", "title"]
    plain = sheets.contact_sheet([[image]], [texts[0]], [texts[1]], texts[2])
    for index in range(3):
        other = [text[::-1] if at == index else text for at, text in enumerate(texts)]
        drawn = sheets.contact_sheet([[image]], [other[0]], [other[1]], other[2])
        assert drawn.height == plain.height
        assert drawn.tobytes() != plain.tobytes()


def test_empty_cells_and_images_of_different_size() -> None:
    small, large = Image.new("RGB", (64, 40), MAGENTA), Image.new("RGB", (128, 128), MAGENTA)
    sheet = sheets.contact_sheet([[None, small], [None, large]], ["a", "b"], ["c", "d"])
    assert cells(sheet).sum() == 64 * 40 + 128 * 128
    inside = cells(sheet)
    columns = np.flatnonzero(inside.any(axis=0))
    # The small image stands in the middle of a cell of the large one's size.
    y = np.flatnonzero(inside.any(axis=1))[0]
    assert (inside[y].sum(), columns.size) == (64, 128)
    assert np.flatnonzero(inside[y])[0] == columns[0] + 32
    empty = (np.asarray(sheet) == (245, 245, 246)).all(-1)
    assert empty.sum() == 128 * 40 + 128 * 128
    both = sheets.contact_sheet([[small.convert("RGBA"), small.convert("L")]], [""], ["", ""])
    assert cells(both).sum() == 64 * 40


def test_a_narrow_sheet_grows_for_its_title() -> None:
    image = Image.new("RGB", (64, 64), MAGENTA)
    plain = sheets.contact_sheet([[image]], [""], [""])
    short = sheets.contact_sheet([[image]], [""], [""], "smile, full, step 500")
    assert plain.width < short.width
    assert short.height - plain.height == round(18 * lettering.LEADING) + 12  # one line and its gap


def test_sheets_refuse_what_does_not_fit() -> None:
    image = noise(0)
    with pytest.raises(ValueError, match="1 rows with 2 row labels"):
        sheets.contact_sheet([[image]], ["a", "b"], ["c"])
    with pytest.raises(ValueError, match="row 'b' has 2 images, there are 1 columns"):
        sheets.contact_sheet([[image], [image, image]], ["a", "b"], ["c"])
    for rows, row_labels in (([], []), ([[None]], ["a"])):
        with pytest.raises(ValueError, match="at least one image"):
            sheets.contact_sheet(rows, row_labels, ["c"])


@pytest.mark.parametrize("text", LABELS)
@pytest.mark.parametrize("width", [20, 90, 300])
def test_wrapped_lines_fit_and_lose_nothing_without_an_ellipsis(text: str, width: int) -> None:
    lines = lettering.wrap(text, 12, width, 3)
    assert len(lines) <= 3
    assert all(lettering.width_of(12, line) <= width for line in lines)
    whole = lettering.wrap(text, 12, width, 10_000)
    assert "".join("".join(whole).split()) == "".join("".join(lettering.lines_of(text)).split())
    assert lines == whole if len(whole) <= 3 else lines[-1].endswith("…")


def test_a_long_word_is_broken_without_measuring_every_beginning_of_it(monkeypatch) -> None:
    measured, width = [], lettering.width_of
    monkeypatch.setattr(
        lettering, "width_of", lambda size, text: measured.append(text) or width(size, text)
    )
    lines = lettering.wrap(UNBROKEN, 12, 90, 10_000)
    assert "".join(lines) == UNBROKEN
    assert all(width(12, line + UNBROKEN[0]) > 45 for line in lines[:-1]), "lines are filled"
    assert len(measured) < 12 * len(lines)


def test_letters_that_the_font_lacks_stay_readable() -> None:
    assert lettering.lines_of("Éva −0.4 × ß\t日\nnext\r\n") == ["Eva -0.4 x s ?", "next"]

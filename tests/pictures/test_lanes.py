"""Sheets of samples: pairs above, a frame, maps of what changed, columns that wrap."""

import numpy as np
import pytest
from PIL import Image

from pairedit.pictures import lanes as sheets
from pairedit.pictures.cells import change_map, difference, fitted
from pairedit.pictures.pairs import Band
from pairedit.pictures.sheet import ACCENT
from pairedit.sample import Sample
from tiny import noise, places

FRAME = tuple(int(ACCENT[i : i + 2], 16) for i in (1, 3, 5))
SCALES = (-0.25, 0.0, 0.25, 0.5)


def samples(seeds=2, scales=SCALES, size=(32, 32)):
    return [
        Sample(
            seed=seed,
            prompt="image of a person",
            column=column,
            scales=(scale,),
            image=noise(10 * seed + column, *(size(seed) if callable(size) else size)),
        )
        for seed in range(seeds)
        for column, scale in enumerate(scales)
    ]


def corner(sheet, image):
    """Return where a picture of noise stands on a sheet: its left upper corner."""
    row = image.crop((0, 0, image.width, 1)).tobytes()
    y, x = divmod(sheet.tobytes().index(row) // 3, sheet.width)
    assert sheet.crop((x, y, x + image.width, y + image.height)).tobytes() == image.tobytes()
    return y, x


def framed(sheet):
    """Return the columns of pixels that have the frame's upright lines, or none."""
    return np.flatnonzero((np.asarray(sheet) == FRAME).all(-1).sum(0) > 60)


def test_a_frame_is_around_the_scale_that_is_worth_one_pair():
    shown = samples()
    sheet = sheets.draw_sheet(shown, title="", look=sheets.Look(unit=0.254))
    lines = framed(sheet)
    for sample in shown:
        _, left = corner(sheet, fitted(sample.image))
        inside = lines.min() < left and left + 64 <= lines.max()
        assert inside == (sample.scales == (0.25,))
    # The largest scale is worth less than a pair: no column is.
    assert not framed(sheets.draw_sheet(shown, title="", look=sheets.Look(unit=0.7))).size
    assert not framed(sheets.draw_sheet(shown, title="")).size


def test_pairs_are_the_first_row_and_not_larger_than_what_is_below():
    shown = samples()
    band = Band(sides=[(noise(100), noise(101)), (noise(102), noise(103))], label="2 pairs")
    plain = sheets.draw_sheet(shown, title="disc")
    sheet = sheets.draw_sheet(shown, title="disc", look=sheets.Look(bands=[band]))
    assert sheet.width <= plain.width + 120, "the label of the row may be longer than a seed's"
    top, left = corner(sheet, fitted(shown[0].image))
    row = np.asarray(sheet)[top - 120 : top - 40, left:]
    assert (row < 200).any(), "something is above"
    assert sheet.height < plain.height + 64 + 60
    two = sheets.draw_sheet(shown, title="disc", look=sheets.Look(bands=[band, band]))
    assert two.height > sheet.height + 40, "of two sliders each has a row"


def test_what_changed_is_below_each_row():
    shown = samples(seeds=1)
    for sample in shown:
        changed = Image.new("RGB", (32, 32), (100,) * 3)
        changed.paste((100 + round(200 * abs(sample.scales[0])),) * 3, (16, 0, 32, 32))
        object.__setattr__(sample, "image", changed)
    sheet = sheets.draw_sheet(shown, title="", look=sheets.Look(differences=True))
    plain = sheets.draw_sheet(shown, title="")
    assert sheet.height == plain.height + 64 + 4
    gray = difference(shown[1].image, shown[3].image)
    assert gray.getpixel((0, 0)) == 0 < gray.getpixel((31, 31)) == 100
    (place,) = places(sheet, fitted(change_map(gray, 2)))  # as loud as fits
    assert place[0] > plain.height - 64 - 40
    paper, dark = (change_map(gray, 1).getpixel(at) for at in ((0, 0), (31, 31)))
    assert paper == (255, 255, 255)
    assert sum(change_map(gray, 2).getpixel((31, 31))) < sum(dark) < 3 * 255


@pytest.mark.parametrize(("seeds", "columns"), [(1, 1), (4, 1), (12, 2), (30, 3)])
def test_many_seeds_stand_in_several_columns(seeds, columns):
    shown = samples(seeds=seeds)
    sheet = sheets.draw_sheet(shown, title="")
    corners = [corner(sheet, fitted(s.image)) for s in shown if s.column == 0]
    assert len({left for _, left in corners}) == columns
    assert sorted(corners, key=lambda corner: corner[::-1]) == corners, "downwards"


def test_pictures_of_one_shape_stand_together():
    shown = samples(seeds=4, size=lambda seed: (48, 32) if seed % 2 else (32, 48))
    sheet = sheets.draw_sheet(shown, title="")
    tops = {s.seed: corner(sheet, fitted(s.image))[0] for s in shown if s.column == 0}
    assert tops[0] < tops[2] < tops[1] < tops[3]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((128, 128), (256, 256)),
        ((512, 512), (512, 512)),
        ((1024, 1024), (512, 512)),
        ((1536, 640), (793, 330)),
        ((256, 256), (256, 256)),
    ],
)
def test_a_picture_is_shown_at_a_size_to_look_at(size, shown):
    assert fitted(Image.new("RGB", size)).size == shown


def test_an_emblem_shows_before_and_after():
    shown = samples()
    emblem = sheets.draw_emblem(shown, 0.25)
    assert emblem.size == (64, 64)
    assert corner(emblem, shown[1].image) == (0, 0)
    assert corner(emblem, shown[2].image) == (0, 32)
    assert corner(sheets.draw_emblem(shown, None), shown[7].image) == (32, 32)

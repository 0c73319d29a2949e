"""Every picture gets one of a few sizes near its own shape; what is cut off is said."""

import math
from itertools import pairwise

import pytest
from PIL import Image

from pairedit.data.images import pixels_of, read_image
from pairedit.data.shapes import (
    ROUNDING,
    SHAPES,
    Fit,
    Frame,
    counted,
    frame_of,
    in_units,
    loss,
    usual,
)

FULL = Fit(resolution=512, unit=16)
FORMATS = [(4000, 3000), (6000, 4000), (1920, 1080), (1280, 800), (2560, 1080), (2048, 2048)]


@pytest.mark.parametrize("resolution", [256, 512, 768, 1024])
@pytest.mark.parametrize("unit", [16, 32])
@pytest.mark.parametrize("shape", SHAPES)
def test_sizes_are_in_units_near_the_shape_and_the_area(resolution, unit, shape):
    fit = Fit(resolution=resolution, unit=unit)
    height, width = fit.of(round(10000 * shape), 10000)
    assert in_units((height, width), unit) == (height // unit, width // unit)
    # Coarse grids hold shapes and areas less well.
    coarse = unit / resolution
    assert abs(math.log(width / height / shape)) <= coarse
    assert abs(math.log(width * height / resolution**2)) <= 2.5 * coarse
    assert fit.of(10000, round(10000 * shape)) == (width, height)


def test_a_square_stays_one_and_there_are_few_sizes():
    assert FULL.of(333, 333) == (512, 512) == usual(FULL)
    sizes = {FULL.of(width, 1000) for width in range(1000, 4000)}
    assert len(sizes) == len(SHAPES)


@pytest.mark.parametrize("pixels", FORMATS)
def test_usual_formats_are_not_cut(pixels):
    frame = frame_of(FULL, *pixels)
    assert frame.whole
    assert frame.box(*pixels) == (0, 0, *pixels)
    assert loss(frame, *pixels) is None


def test_shapes_lie_close_enough_to_each_other():
    for one, other in pairwise(SHAPES):
        assert other / one < 1.3
    # The worst of all in between loses as much as this.
    worst = max(
        1 - (box[2] - box[0]) * (box[3] - box[1]) / (width * 1000)
        for width in range(1000, 3000)
        for box in [frame_of(FULL, width, 1000).box(width, 1000)]
    )
    assert ROUNDING < worst < 0.13


def test_what_is_cut_is_the_margin_and_is_said():
    frame = frame_of(FULL, 1140, 1000)
    assert not frame.whole or frame.size == (480, 544)
    wide = frame_of(FULL, 5000, 1000)
    assert wide.size == (288, 864)
    left, top, right, bottom = wide.box(5000, 1000)
    assert (top, bottom, left + right) == (0, 1000, 5000)
    assert right - left == 3000
    assert loss(wide, 5000, 1000) == (
        "5000 x 1000 px, cut to 3000 x 1000: 40 % is lost at the left and right"
    )
    square = frame_of((512, 512), 600, 800)
    assert square == Frame(size=(512, 512))
    assert loss(square, 600, 800) == (
        "600 x 800 px, cut to 600 x 600: 25 % is lost at the top and bottom"
    )


def test_a_size_that_is_asked_for_is_filled_without_stretching():
    frame = frame_of((512, 768), 2000, 2000)
    left, top, right, bottom = frame.box(2000, 2000)
    assert (right - left, bottom - top) == (2000, 1333)
    assert (left, top) == (0, 333)


@pytest.mark.parametrize("size", [(24, 32), (0, 16), (16, 8208)])
def test_other_sides_are_refused(size):
    with pytest.raises(ValueError, match=r"an image of \d+ x \d+ px: expected multiples of 16 px"):
        in_units(size, 16)


def test_sizes_are_counted():
    assert counted([(32, 48)]) == "48 x 32 px"
    assert counted([(32, 48), (32, 32), (32, 32)]) == "32 x 32 px (2), 48 x 32 px (1)"


def test_the_size_of_a_turned_photograph_is_told_without_decoding_it(tmp_path):
    image = Image.new("RGB", (60, 40), "red")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        image.save(path, exif=exif)
        assert pixels_of(path) == read_image(path).size

"""Pictures that are neither jpg, png nor webp: TIFF, BMP and GIF, and what only looks like them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pairedit.data import examples, images

LEVELS = np.tile(np.linspace(10, 240, 48).astype(np.uint8), (32, 1))
PICTURE = Image.fromarray(np.stack([LEVELS, LEVELS[:, ::-1], LEVELS // 2], -1))
TURNED = Image.Exif()
TURNED[0x112] = 6  # to be turned clockwise


@pytest.mark.parametrize("suffix", ["tif", "bmp"])
def test_they_are_read_exactly(tmp_path, suffix):
    PICTURE.save(tmp_path / f"a.{suffix}")
    assert images.read_image(tmp_path / f"a.{suffix}").tobytes() == PICTURE.tobytes()
    assert list(examples.find_images(tmp_path)) == ["a"]


def test_a_still_gif_is_read_by_its_content(tmp_path):
    PICTURE.save(tmp_path / "a.png", format="GIF")
    with Image.open(tmp_path / "a.png") as still:
        expected = np.asarray(still.convert("RGB"))
    assert np.array_equal(np.asarray(images.read_image(tmp_path / "a.png")), expected)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_rotation_is_applied_once(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    PICTURE.save(tmp_path / f"a.{suffix}", exif=TURNED, **options)
    read = images.read_image(tmp_path / f"a.{suffix}")
    assert read.tobytes() == PICTURE.transpose(Image.Transpose.ROTATE_270).tobytes()


def test_sixteen_bits_of_a_tiff_are_scaled(tmp_path):
    Image.fromarray(LEVELS.astype(np.uint16) * 257).save(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(images.read_image(tmp_path / "a.tif"))[..., 0], LEVELS)


@pytest.mark.parametrize(
    "values", [LEVELS / np.float32(255), LEVELS.astype(np.int32) << 20], ids=["float", "int"]
)
def test_numbers_whose_white_nobody_knows_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: numbers of 32 bits; save it with 8 or 16 bits"):
        images.read_image(tmp_path / "a.tif")


def test_the_preview_of_a_raw_file_is_no_photograph(tmp_path):
    PICTURE.save(tmp_path / "a.nef", format="TIFF")
    with pytest.raises(ValueError, match=r"a\.nef: not a readable"):
        images.read_image(tmp_path / "a.nef")


def test_several_pages_are_refused(tmp_path):
    PICTURE.save(tmp_path / "a.tif", save_all=True, append_images=[PICTURE])
    with pytest.raises(ValueError, match=r"a\.tif: 2 pages, expected a still image"):
        images.read_image(tmp_path / "a.tif")

"""Large photographs and PNGs with much text are read; bombs are not."""

import io

import pytest
from PIL import Image, PngImagePlugin

from pairedit.data import images
from pairedit.pictures.png import read_metadata


def texted(count: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * count, zip=True)
    content = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(content, "PNG", pnginfo=text)
    return content.getvalue()


def test_zipped_text_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(texted(3_000_000))
    assert images.read_image(path).getpixel((0, 0)) == (255, 0, 0)
    assert len(read_metadata(path)["workflow"]) == 3_000_000
    monkeypatch.setattr(images, "MAX_TEXT", 2 << 20)
    with pytest.raises(ValueError, match=r"a\.png: more than 2 MiB of text in it"):
        images.read_image(path)


def test_a_large_profile_is_read(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 32), "red").save(path, icc_profile=bytes(2_000_000))
    assert images.read_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_photographs_of_ninety_megapixels_are_read(tmp_path):
    Image.new("L", (12_000, 7_600), 90).save(tmp_path / "a.jpg")
    assert images.read_image(tmp_path / "a.jpg").size == (12_000, 7_600)


def test_limits_of_pillow_are_as_they_were():
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    with pytest.raises(KeyError), images.generous_limits():
        raise KeyError
    after = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    assert after == before

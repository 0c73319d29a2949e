"""Pictures as phones write them are decoded."""

import pytest
from PIL import Image

from pairedit.data import examples, images


@pytest.mark.skipif("AVIF" not in images.formats(), reason="this Pillow has no AVIF")
def test_avif_is_read_where_pillow_reads_it(tmp_path):
    drawn = Image.new("RGB", (64, 48), (200, 40, 40))
    drawn.paste((40, 40, 200), (0, 0, 32, 48))
    drawn.save(tmp_path / "a.avif", quality=95)
    image = images.read_image(tmp_path / "a.avif")
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert image.getpixel((8, 24)) == pytest.approx((40, 40, 200), abs=12)
    assert image.getpixel((56, 24)) == pytest.approx((200, 40, 40), abs=12)
    assert list(examples.find_images(tmp_path)) == ["a"]


def test_a_picture_of_a_phone_is_decoded(tmp_path):
    """HEIC as a phone writes it, told by content and turned as its EXIF says."""
    heif = pytest.importorskip(
        "pillow_heif", reason="HEIC needs pillow-heif: pip install 'pairedit[heic]'"
    )
    images.formats.cache_clear()
    drawn = Image.new("RGB", (64, 48), (200, 40, 40))
    drawn.paste((40, 40, 200), (0, 0, 32, 48))
    for name in ("source/IMG_1.HEIC", "source/IMG_2.jpg", "target/IMG_1.heic", "target/IMG_2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shown = drawn if name.startswith("source") else drawn.transpose(Image.Transpose.ROTATE_180)
        heif.from_pillow(shown if "1" in name else shown.convert("L").convert("RGB")).save(
            tmp_path / name, format="HEIF", quality=95
        )
    pairs = examples.find_pairs(tmp_path)
    assert [pair.stem for pair in pairs] == ["IMG_1", "IMG_2"]
    image = images.read_image(pairs[0].source)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert image.getpixel((8, 24)) == pytest.approx((40, 40, 200), abs=12)
    assert image.getpixel((56, 24)) == pytest.approx((200, 40, 40), abs=12)
    images.formats.cache_clear()

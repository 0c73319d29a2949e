"""Broken, lying and unusual images: read, or refused in one line that names the file."""

import io
import pickle
import struct

import figures
import pytest
from hostile import Bomb, image_bytes
from PIL import Image

from pairedit.data.examples import find_pairs
from tiny import write_pairs


def png_bomb() -> bytes:
    """A small file that says it is 60,000 px a side."""
    buffer = io.BytesIO()
    Image.new("1", (16, 16)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    return bytes(content)


def gif(frames=1) -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "green")]
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:frames])
    return buffer.getvalue()


def apng() -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def small() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = {
    "broken": (lambda: b"no image", "not a readable"),
    "cut": (lambda: image_bytes("PNG")[:200], "damaged or truncated"),
    "a decompression bomb": (png_bomb, "p0.png: "),
    "tiny": (small, "8 x 8 px"),
    "moving, by another name": (lambda: gif(3), "animated (3 frames)"),
    "animated": (apng, "animated (2 frames)"),
    "a pickle": (lambda: pickle.dumps(Bomb("/nowhere/executed")), "not a readable"),
}


@pytest.mark.parametrize("what", IMAGES)
def test_bad_images_are_named(what, tmp_path):
    make, reason = IMAGES[what]
    pairs = write_pairs(tmp_path / "pairs")
    (pairs / "source/p0.png").write_bytes(make())
    figures.COUNTS["files"] += 1
    with pytest.raises(ValueError, match=r"source/p0\.png: ") as refused:
        find_pairs(pairs)
    figures.COUNTS["files refused"] += 1
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_same_pair_under_two_names_is_refused(tmp_path):
    pairs = write_pairs(tmp_path / "pairs")
    for side in ("source", "target"):
        content = (pairs / side / "p0.png").read_bytes()
        (pairs / side / "copy.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"copy\.png and source/p0\.png: the same pair twice"):
        find_pairs(pairs)


def test_unusual_but_good_images_are_read(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", count=3)
    noise = Image.effect_noise((32, 32), 60)
    noise.convert("CMYK").save(pairs / "source/p0.jpg")
    (pairs / "source/p0.png").unlink()
    Image.new("I;16", (32, 32), 40_000).save(pairs / "source/p1.png")
    buffer = io.BytesIO()
    noise.convert("RGB").save(buffer, "JPEG")
    (pairs / "source/p2.png").write_bytes(buffer.getvalue())
    assert len(find_pairs(pairs)) == 3

"""Colour profiles are read by what they do, whatever they are called."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from pairedit.data.images import read_image

RAMP = np.arange(256, dtype=np.uint8)


def curve(gamma: float | None) -> bytes:
    """Write a tone curve of a profile: a power, or sRGB's own."""
    if gamma is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    values = np.linspace(0, 1, 1024)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(linear * 65535).round().astype(int))


def profile(name: str, gamma: float | None, *, gray: bool = False) -> bytes:
    """Write a profile with sRGB's primaries, or of gray."""

    def s15(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(s15, values))

    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz((0.9642, 1, 0.8249)),
    }
    if gray:
        tags[b"kTRC"] = curve(gamma)
    else:
        tags |= {
            b"rXYZ": xyz((0.43607, 0.22249, 0.01392)),
            b"gXYZ": xyz((0.38515, 0.71687, 0.09708)),
            b"bXYZ": xyz((0.14307, 0.06061, 0.71410)),
            **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(gamma)),
        }
    start, table, body = 132 + 12 * len(tags), b"", b""
    for key, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += key + struct.pack(">II", start + len(body), len(value))
        body += value
    space = b"GRAY" if gray else b"RGB "
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ "
    )
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += s15(0.9642) + s15(1) + s15(0.8249)
    return head + b"\0" * (128 - len(head)) + struct.pack(">I", len(tags)) + table + body


def srgb_of(gamma: float) -> np.ndarray:
    """Return what levels under a power law are in sRGB."""
    linear = (RAMP / 255) ** gamma
    bent = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return bent * 255


def ramp(mode: str) -> Image.Image:
    return Image.fromarray(np.tile(RAMP, (16, 1))).convert(mode)


@pytest.mark.parametrize("name", ["sRGB-elle-V2-g10.icc", "Linear light", "not sRGB"])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_a_profile_is_applied_whatever_its_name(tmp_path, caplog, name, gamma, mode):
    ramp(mode).save(tmp_path / "a.png", icc_profile=profile(name, gamma))
    found = np.asarray(read_image(tmp_path / "a.png")).astype(float)
    assert abs(found[0, :, 1] - srgb_of(gamma)).max() <= 1.5
    assert not caplog.records


@pytest.mark.parametrize("name", ["sRGB built-in", "My screen"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_means_srgb_is_left_as_it_is(tmp_path, name, mode):
    ramp(mode).save(tmp_path / "a.png", icc_profile=profile(name, None))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png"))[0, :, 1], RAMP)


def test_gray_that_means_srgb_is_left_as_it_is(tmp_path):
    ramp("L").save(tmp_path / "a.png", icc_profile=profile("gray", None, gray=True))
    found = read_image(tmp_path / "a.png")
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found)[0, :, 1], RAMP)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_gray_profiles(tmp_path, caplog, mode, gamma):
    if mode == "I;16":
        image = Image.fromarray(np.tile(RAMP.astype(np.uint16) * 257, (16, 1)))
    else:
        image = ramp(mode)
    image.save(tmp_path / "a.png", icc_profile=profile("sRGB", gamma, gray=True))
    found = np.asarray(read_image(tmp_path / "a.png")).astype(float)
    assert abs(found[0] - srgb_of(gamma)[:, None]).max() <= 1.5
    assert not caplog.records


def test_a_profile_of_another_space_is_named_and_left(tmp_path, caplog):
    ramp("RGB").save(tmp_path / "a.png", icc_profile=profile("gray", 1.0, gray=True))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png"))[0, :, 1], RAMP)
    assert "unusable colour profile" in caplog.text
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "b.jpg", icc_profile=srgb)
    caplog.clear()
    red, green, _ = read_image(tmp_path / "b.jpg").getpixel((8, 8))
    assert (red > 250, green < 5) == (True, True)
    assert "for RGB, the image is CMYK" in caplog.text

"""Images are read as a viewer shows them, and written back exactly."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from pairedit.data import images
from tiny import noise

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def test_load_image_keeps_an_image_of_the_right_size(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    loaded = images.load_image(tmp_path / "a.png", (32, 32))
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(loaded, noise())


def test_load_image_crops_the_centre(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), RED)
    wide.paste(GREEN, (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    wide.rotate(90, expand=True).save(tmp_path / "tall.png")
    for name in ("wide", "tall"):
        loaded = images.load_image(tmp_path / f"{name}.png", (48, 48))
        assert loaded.size == (48, 48)
        assert loaded.getcolors() == [(48 * 48, GREEN)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (64, 64), BLUE)
    upright.paste(RED, (0, 0, 32, 32))
    upright.paste(GREEN, (32, 0, 64, 32))
    turn = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],  # stored turned left, to be shown turned right
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]
    stored = upright
    for step in turn:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png", (64, 64)), upright)


def test_alpha_is_composited_on_white_before_resizing(tmp_path: Path) -> None:
    image = Image.new("RGBA", (32, 32), (*RED, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 32))  # transparent black: must turn white, never gray
    image.save(tmp_path / "rgba.png")
    loaded = images.load_image(tmp_path / "rgba.png", (32, 32))
    assert loaded.getpixel((4, 16)) == WHITE
    assert loaded.getpixel((28, 16)) == RED
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    half.save(tmp_path / "half.webp", lossless=True, exact=True)
    assert images.load_image(tmp_path / "half.webp", (16, 16)).getpixel((8, 8)) == (127, 127, 127)


def test_gray_palette_and_16_bit_images(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32).round().astype(np.uint16)
    Image.fromarray(np.tile(ramp, (32, 1))).save(tmp_path / "deep.png")
    deep = np.asarray(images.load_image(tmp_path / "deep.png", (32, 32)))
    np.testing.assert_array_equal(deep[0, :, 0], (ramp / 257).round().astype(np.uint8))
    np.testing.assert_array_equal(deep[..., 0], deep[..., 2])

    Image.new("L", (32, 32), 77).save(tmp_path / "gray.png")
    assert images.load_image(tmp_path / "gray.png", (16, 16)).getpixel((0, 0)) == (77, 77, 77)

    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([*BLUE, *GREEN])
    palette.paste(0, (0, 0, 16, 32))
    palette.save(tmp_path / "palette.png", transparency=0)
    loaded = images.load_image(tmp_path / "palette.png", (32, 32))
    assert (loaded.getpixel((2, 2)), loaded.getpixel((30, 2))) == (WHITE, GREEN)

    Image.new("LA", (32, 32), (10, 0)).save(tmp_path / "la.png")
    assert images.load_image(tmp_path / "la.png", (16, 16)).getpixel((0, 0)) == WHITE

    Image.new("RGB", (32, 32), RED).save(tmp_path / "key.png", transparency=RED)
    assert images.load_image(tmp_path / "key.png", (16, 16)).getpixel((0, 0)) == WHITE


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = images.load_image(tmp_path / "a.jpg", (16, 16)).getpixel((8, 8))
    assert red > 250
    assert max(green, blue) < 5


def test_a_colour_profile_is_applied_and_a_broken_one_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image.new("RGB", (32, 32), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "srgb.png", icc_profile=srgb)
    assert images.load_image(tmp_path / "srgb.png", (32, 32)).getpixel((0, 0)) == (200, 100, 50)
    assert not caplog.records
    image.save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert images.load_image(tmp_path / "broken.png", (32, 32)).getpixel((0, 0)) == (200, 100, 50)
    assert "colour profile" in caplog.text
    # A profile whose red and blue are swapped must swap them in the result.
    swapped = bytearray(srgb)
    entry = {swapped[at : at + 4].decode(): at for at in range(132, 132 + 12 * 17, 12)}
    red, blue = (entry[name] + 4 for name in ("rXYZ", "bXYZ"))
    swapped[red : red + 8], swapped[blue : blue + 8] = (
        swapped[blue : blue + 8],
        swapped[red : red + 8],
    )
    name = bytes(swapped).replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
    image.save(tmp_path / "swapped.png", icc_profile=name)
    red, green, blue = images.load_image(tmp_path / "swapped.png", (32, 32)).getpixel((0, 0))
    assert abs(red - 50) <= 2
    assert abs(green - 100) <= 2
    assert abs(blue - 200) <= 2


def test_the_second_picture_of_a_camera_file_is_no_animation(tmp_path: Path) -> None:
    content = io.BytesIO()
    noise(1).save(content, format="MPO", save_all=True, append_images=[noise(2)])
    (tmp_path / "a.jpg").write_bytes(content.getvalue())
    with Image.open(tmp_path / "a.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    assert images.load_image(tmp_path / "a.jpg", (32, 32)).size == (32, 32)


def test_load_image_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        images.load_image(tmp_path / "gone.png", (32, 32))


def test_tensors_hold_every_byte_exactly() -> None:
    import torch

    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([pixels, pixels.T, 255 - pixels], axis=-1))
    tensor = images.to_tensor(image)
    assert (tensor.dtype, tensor.shape) == (torch.float32, (3, 16, 16))
    assert tensor.is_contiguous()
    assert (tensor.min().item(), tensor.max().item()) == (-1, 1)
    assert tensor[1, 0, 15] == np.float32(240 / 127.5 - 1)
    np.testing.assert_array_equal(images.to_image(tensor), image)


def test_to_image_clamps_rounds_and_refuses() -> None:
    import torch

    tensor = torch.tensor([-9.0, 9.0, (100.4 / 127.5) - 1, (100.6 / 127.5) - 1])
    image = images.to_image(tensor.reshape(1, 1, 4).expand(3, 1, 4).to(torch.float64))
    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 255, 100, 101]
    with pytest.raises(ValueError, match=r"shape \[1, 3, 4, 4\]"):
        images.to_image(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="not finite"):
        images.to_image(torch.full((3, 4, 4), torch.nan))
    with pytest.raises(ValueError, match="mode RGBA"):
        images.to_tensor(Image.new("RGBA", (4, 4)))


def test_importing_data_and_sheets_does_not_import_torch() -> None:
    modules = "pairedit.data.examples, pairedit.data.images, pairedit.pictures.sheet"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

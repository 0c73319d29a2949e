import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from pairedit import files
from pairedit.data import examples, images, prompts

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def picture(seed: int = 0, width: int = 32, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a good folder of two pairs."""
    for index, side in enumerate(("source", "target")):
        (tmp_path / side).mkdir()
        for stem in "ab":
            picture(seed=ord(stem) + 100 * index).save(tmp_path / side / f"{stem}.png")
    return tmp_path


def problem(folder: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        examples.find_pairs(folder)
    return str(caught.value)


def test_pairs_are_matched_by_stem_whatever_the_suffix(folder: Path) -> None:
    picture(7).save(folder / "source" / "0.JPG", format="JPEG")
    picture(8).save(folder / "target" / "0.WebP", format="WEBP")
    picture(9).save(folder / "source" / "x.y.jpeg")
    picture(10).save(folder / "target" / "x.y.png")
    (folder / "source" / ".DS_Store").write_bytes(b"junk")
    (folder / "source" / "._a.png").write_bytes(b"junk")
    (folder / "target" / "notes.txt").write_text("ignored")
    pairs = examples.find_pairs(folder)
    assert [pair.stem for pair in pairs] == ["0", "a", "b", "x.y"]
    assert [pair.source.name for pair in pairs] == ["0.JPG", "a.png", "b.png", "x.y.jpeg"]
    assert [pair.target.name for pair in pairs] == ["0.WebP", "a.png", "b.png", "x.y.png"]
    assert all(pair.source.parent.name == "source" for pair in pairs)


def test_composed_and_decomposed_accents_are_one_stem(folder: Path) -> None:
    picture(1).save(folder / "source" / "e\u0301.png")
    picture(2).save(folder / "target" / "\u00e9.png")
    assert [pair.stem for pair in examples.find_pairs(folder)] == ["a", "b", "\u00e9"]


def test_one_error_names_every_problem(folder: Path) -> None:
    picture().save(folder / "source" / "lonely.png")
    picture().save(folder / "target" / "forsaken.png")
    picture(3).save(folder / "source" / "a.jpg")
    picture(4, 15, 40).save(folder / "source" / "b.png")
    (folder / "source" / "c.png").write_bytes(b"")
    (folder / "target" / "c.png").write_text("hello")
    for side in ("source", "target"):
        picture(5).save(folder / side / "same.png")
    (folder / "target" / "phone.heic").write_bytes(b"?")
    (folder / "target" / "dir.png").mkdir()
    text = problem(folder)
    for expected in (
        "10 problems",
        "source/lonely.png: no image of that name in target/",
        "target/forsaken.png: no image of that name in source/",
        "source/a.jpg, source/a.png: 2 files of one stem (a)",
        "source/b.png: 15 x 40 px, at least 16 px",
        "source/c.png: not a readable",
        "target/c.png: not a readable",
        "source/same.png and target/same.png: equal pixels",
        "target/phone.heic: .heic is not read",
        "target/dir.png: is a directory",
        "target/dir.png: no image of that name in source/",
    ):
        assert expected in text, text
    assert text.startswith(str(folder))


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    assert "nowhere: no such folder" in problem(tmp_path / "nowhere")
    assert "source/: no such file" in problem(tmp_path)
    assert "target/: no such file" in problem(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    assert "source/: no jpg, png or webp image in it" in problem(tmp_path)
    picture().save(tmp_path / "source" / "a.png")
    # The empty side is the problem; not every file opposite.
    assert problem(tmp_path) == f"{tmp_path}: target/: no jpg, png or webp image in it"


def test_equal_pixels_in_other_files_are_no_edit(folder: Path) -> None:
    picture(1).save(folder / "source" / "z.png", compress_level=1)
    picture(1).save(folder / "target" / "z.webp", lossless=True)
    assert "source/z.png and target/z.webp: equal pixels" in problem(folder)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_truncated_files_are_named(folder: Path, suffix: str, part: float) -> None:
    picture(1, 64, 64).save(folder / "source" / f"t.{suffix}")
    picture(2, 64, 64).save(folder / "target" / f"t.{suffix}")
    path = folder / "target" / f"t.{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert f"target/t.{suffix}: " in problem(folder)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_animated_images_are_refused(folder: Path, suffix: str) -> None:
    frames = [picture(seed) for seed in range(3)]
    frames[0].save(folder / "source" / f"m.{suffix}", save_all=True, append_images=frames[1:])
    picture(9).save(folder / "target" / f"m.{suffix}")
    assert f"source/m.{suffix}: animated (3 frames)" in problem(folder)


def test_a_gif_in_disguise_is_refused(folder: Path) -> None:
    picture(1).save(folder / "source" / "a.png", format="GIF")
    assert "source/a.png: not a readable" in problem(folder)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_decompression_bombs_are_refused_unread(folder: Path, side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "source" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    assert "source/a.png: more than 89 million pixels" in problem(folder)


def test_load_image_keeps_an_image_of_the_right_size(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    loaded = images.load_image(tmp_path / "a.png", 32)
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(loaded, picture())


def test_load_image_crops_the_centre(tmp_path: Path) -> None:
    wide = Image.new("RGB", (90, 30), RED)
    wide.paste(GREEN, (30, 0, 60, 30))
    wide.save(tmp_path / "wide.png")
    wide.rotate(90, expand=True).save(tmp_path / "tall.png")
    for name in ("wide", "tall"):
        loaded = images.load_image(tmp_path / f"{name}.png", 48)
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
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png", 64), upright)


def test_alpha_is_composited_on_white_before_resizing(tmp_path: Path) -> None:
    image = Image.new("RGBA", (32, 32), (*RED, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 32))  # transparent black: must turn white, never gray
    image.save(tmp_path / "rgba.png")
    loaded = images.load_image(tmp_path / "rgba.png", 32)
    assert loaded.getpixel((4, 16)) == WHITE
    assert loaded.getpixel((28, 16)) == RED
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    half.save(tmp_path / "half.webp", lossless=True, exact=True)
    assert images.load_image(tmp_path / "half.webp", 16).getpixel((8, 8)) == (127, 127, 127)


def test_gray_palette_and_16_bit_images(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32).round().astype(np.uint16)
    Image.fromarray(np.tile(ramp, (32, 1))).save(tmp_path / "deep.png")
    deep = np.asarray(images.load_image(tmp_path / "deep.png", 32))
    np.testing.assert_array_equal(deep[0, :, 0], (ramp / 257).round().astype(np.uint8))
    np.testing.assert_array_equal(deep[..., 0], deep[..., 2])

    Image.new("L", (32, 32), 77).save(tmp_path / "gray.png")
    assert images.load_image(tmp_path / "gray.png", 16).getpixel((0, 0)) == (77, 77, 77)

    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([*BLUE, *GREEN])
    palette.paste(0, (0, 0, 16, 32))
    palette.save(tmp_path / "palette.png", transparency=0)
    loaded = images.load_image(tmp_path / "palette.png", 32)
    assert (loaded.getpixel((2, 2)), loaded.getpixel((30, 2))) == (WHITE, GREEN)

    Image.new("LA", (32, 32), (10, 0)).save(tmp_path / "la.png")
    assert images.load_image(tmp_path / "la.png", 16).getpixel((0, 0)) == WHITE

    Image.new("RGB", (32, 32), RED).save(tmp_path / "key.png", transparency=RED)
    assert images.load_image(tmp_path / "key.png", 16).getpixel((0, 0)) == WHITE


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red, green, blue = images.load_image(tmp_path / "a.jpg", 16).getpixel((8, 8))
    assert red > 250
    assert max(green, blue) < 5


def test_a_colour_profile_is_applied_and_a_broken_one_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = Image.new("RGB", (32, 32), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "srgb.png", icc_profile=srgb)
    assert images.load_image(tmp_path / "srgb.png", 32).getpixel((0, 0)) == (200, 100, 50)
    assert not caplog.records
    image.save(tmp_path / "broken.png", icc_profile=b"nonsense")
    assert images.load_image(tmp_path / "broken.png", 32).getpixel((0, 0)) == (200, 100, 50)
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
    red, green, blue = images.load_image(tmp_path / "swapped.png", 32).getpixel((0, 0))
    assert abs(red - 50) <= 2
    assert abs(green - 100) <= 2
    assert abs(blue - 200) <= 2


def test_the_second_picture_of_a_camera_file_is_no_animation(tmp_path: Path) -> None:
    content = io.BytesIO()
    picture(1).save(content, format="MPO", save_all=True, append_images=[picture(2)])
    (tmp_path / "a.jpg").write_bytes(content.getvalue())
    with Image.open(tmp_path / "a.jpg") as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    assert images.load_image(tmp_path / "a.jpg", 32).size == (32, 32)


def test_load_image_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        images.load_image(tmp_path / "gone.png", 32)


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


def test_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeff# people\r\n\r\n  a person, 30 # years \r\n#x\r\nÉva\r\n".encode())
    assert prompts.read_prompts(path) == ["a person, 30 # years", "Éva"]
    path.write_text("# nothing\n\n")
    with pytest.raises(ValueError, match=r"prompts\.txt: no prompt"):
        prompts.read_prompts(path)
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        prompts.read_prompts(path)
    with pytest.raises(ValueError, match="no such file"):
        prompts.read_prompts(tmp_path / "gone.txt")


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("one")
        assert (temporary.suffix, temporary.parent) == (".txt", path.parent)
        assert not path.exists()
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o600 == 0o600
    with pytest.raises(KeyError), files.replacing(path) as temporary:
        {}[temporary.write_text("two")]
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]
    # Who has the old file open keeps reading it whole.
    with path.open() as old:
        with files.replacing(path) as temporary:
            temporary.write_text("three")
        assert (old.read(), path.read_text()) == ("one", "three")


def test_importing_data_and_sheets_does_not_import_torch() -> None:
    code = "import sys, pairedit.data, pairedit.sheets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

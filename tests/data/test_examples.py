"""Pairs are found by name; one error names every problem."""

import re
import struct
import zlib
from pathlib import Path

import pytest

from pairedit.data import examples, images
from tiny import noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a good folder of two pairs."""
    for index, side in enumerate(("source", "target")):
        (tmp_path / side).mkdir()
        for stem in "ab":
            noise(seed=ord(stem) + 100 * index).save(tmp_path / side / f"{stem}.png")
    return tmp_path


def problem(folder: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        examples.find_pairs(folder)
    return str(caught.value)


def test_pairs_are_matched_by_stem_whatever_the_suffix(folder: Path) -> None:
    noise(7).save(folder / "source" / "0.JPG", format="JPEG")
    noise(8).save(folder / "target" / "0.WebP", format="WEBP")
    noise(9).save(folder / "source" / "x.y.jpeg")
    noise(10).save(folder / "target" / "x.y.png")
    (folder / "source" / ".DS_Store").write_bytes(b"junk")
    (folder / "source" / "._a.png").write_bytes(b"junk")
    (folder / "target" / "notes.txt").write_text("ignored")
    pairs = examples.find_pairs(folder)
    assert [pair.stem for pair in pairs] == ["0", "a", "b", "x.y"]
    assert [pair.source.name for pair in pairs] == ["0.JPG", "a.png", "b.png", "x.y.jpeg"]
    assert [pair.target.name for pair in pairs] == ["0.WebP", "a.png", "b.png", "x.y.png"]
    assert all(pair.source.parent.name == "source" for pair in pairs)


def test_composed_and_decomposed_accents_are_one_stem(folder: Path) -> None:
    noise(1).save(folder / "source" / "e\u0301.png")
    noise(2).save(folder / "target" / "\u00e9.png")
    assert [pair.stem for pair in examples.find_pairs(folder)] == ["a", "b", "\u00e9"]


def test_one_error_names_every_problem(folder: Path) -> None:
    noise().save(folder / "source" / "lonely.png")
    noise().save(folder / "target" / "forsaken.png")
    noise(3).save(folder / "source" / "a.jpg")
    noise(4, 15, 40).save(folder / "source" / "b.png")
    (folder / "source" / "c.png").write_bytes(b"")
    (folder / "target" / "c.png").write_text("hello")
    for side in ("source", "target"):
        noise(5).save(folder / side / "same.png")
    (folder / "target" / "phone.heic").write_bytes(b"?")
    (folder / "target" / "dir.png").mkdir()
    text = problem(folder)
    for expected in (
        "8 problems",
        "source/lonely.png: no image of that name in target/",
        "target/forsaken.png: no image of that name in source/",
        "source/a.jpg, source/a.png: 2 files have the same stem, a",
        "source/b.png: 15 x 40 px, at least 16 px",
        "source/c.png: not a readable",
        "target/c.png: not a readable",
        "source/same.png and target/same.png: equal pixels",
        "target/phone.heic: not a readable",
        "left out (empty folder): target/dir.png/",
    ):
        assert expected in text, text
    assert text.startswith(str(folder))


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    assert "nowhere: no such folder" in problem(tmp_path / "nowhere")
    assert "no source/ and no target/ in it; there is nothing. Pairs" in problem(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    assert f"source/: no {images.readable()} image in it" in problem(tmp_path)
    noise().save(tmp_path / "source" / "a.png")
    # The empty side is the problem; not every file opposite.
    assert problem(tmp_path) == f"{tmp_path}: target/: no {images.readable()} image in it"


def test_equal_pixels_in_other_files_are_no_edit(folder: Path) -> None:
    noise(1).save(folder / "source" / "z.png", compress_level=1)
    noise(1).save(folder / "target" / "z.webp", lossless=True)
    assert "source/z.png and target/z.webp: equal pixels" in problem(folder)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_truncated_files_are_named(folder: Path, suffix: str, part: float) -> None:
    noise(1, 64, 64).save(folder / "source" / f"t.{suffix}")
    noise(2, 64, 64).save(folder / "target" / f"t.{suffix}")
    path = folder / "target" / f"t.{suffix}"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert f"target/t.{suffix}: " in problem(folder)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_animated_images_are_refused(folder: Path, suffix: str) -> None:
    frames = [noise(seed) for seed in range(3)]
    frames[0].save(folder / "source" / f"m.{suffix}", save_all=True, append_images=frames[1:])
    noise(9).save(folder / "target" / f"m.{suffix}")
    assert f"source/m.{suffix}: animated (3 frames)" in problem(folder)


def test_what_is_not_read_is_refused_in_disguise(folder: Path) -> None:
    (folder / "source" / "a.png").write_bytes(b"\xff\x0a" + bytes(64))
    assert "source/a.png: JPEG XL is not read" in problem(folder)


@pytest.mark.parametrize("side", [17_000, 60_000])
def test_decompression_bombs_are_refused_unread(folder: Path, side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "source" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    assert "source/a.png: more than 268 million pixels" in problem(folder)


def test_folders_of_other_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    text = problem(tmp_path)
    assert "no source/ and no target/ in it; there is after/, before/. Pairs" in text

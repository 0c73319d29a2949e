"""Folders as people bring them: every file is used, or named with the reason."""

import io
import logging
import os
import re
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairedit.data import examples, folders, images, kinds
from tiny import QUICK

PHONE = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
MOVIE = b"\0\0\0\x14ftypqt  \0\0\0\0qt  "


def picture(seed: int = 0, side: int = 32) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(kind: str, seed: int = 0, **options) -> bytes:
    content = io.BytesIO()
    picture(seed).save(content, kind, **options)
    return content.getvalue()


def animated(kind: str) -> bytes:
    return encoded(kind, save_all=True, append_images=[picture(1), picture(2)])


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.txt", "a")
    return content.getvalue()


# Names in source/, what is in them, and the reason that is given.
LEFT_OUT = {
    ".DS_Store": (b"\0\0\0\x01Bud1", "hidden"),
    "._good.jpg": (b"\0\x05\x16\x07", "hidden"),
    ".hidden.png": (encoded("PNG"), "hidden"),
    ".gitkeep": (b"", "hidden"),
    "Thumbs.db": (b"\xd0\xcf\x11\xe0", "of the system"),
    "desktop.ini": (b"[.ShellClassInfo]", "of the system"),
    "Icon\r": (b"", "of the system"),
    "good.txt": (b"a person, smiling", "text"),
    "good.caption": ("a person, smiling, José".encode(), "text"),
    "BMW.txt": (b"BMW on a road, GIF8 of it", "text"),
    "good.json": (b'{"prompt": "a"}', "text"),
    "good.xmp": (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", "text"),
    "good.AAE": (b"<?xml version='1.0'?><plist/>", "text"),
    "good.csv": ("\ufeffa;b".encode("utf-16"), "text"),
    "good.MOV": (MOVIE, "video"),
    "clip.mp4": (b"\0\0\0\x18ftypisom\0\0\0\0", "video"),
    "clip.webm": (b"\x1a\x45\xdf\xa3\x01", "video"),
    "clip.avi": (b"RIFF\0\0\0\0AVI LIST", "video"),
    "voice.m4a": (b"\0\0\0\x18ftypM4A \0\0\0\0", "sound"),
    "all.zip": (zipped(), "archive"),
    "good.psd": (b"8BPS\0\x01", "layered picture of an editor"),
    "good.xcf": (b"gimp xcf v011\0", "layered picture of an editor"),
    "good.kra": (zipped(), "archive"),
    "good.CR2": (b"II*\0\x10\0\0\0CR\x02\0", "raw picture of a camera"),
    "good.nef": (b"MM\0*\0\0\0\x08", "raw picture of a camera"),
    "good.dng": (b"II*\0\x08\0\0\0", "raw picture of a camera"),
    "good.CR3": (b"\0\0\0\x18ftypcrx \0\0\0\x01", "raw picture of a camera"),
    "logo.svg": (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing"),
    "notes.pdf": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "light.exr": (b"\x76\x2f\x31\x01\x02\0", "OpenEXR picture"),
    "weights.safetensors": (b"\x08\0\0\0\0\0\0\0{}      ", "no picture"),
    "nothing": (b"", "empty file"),
    # Pictures that are not read, beside one of their name that is.
    "good.gif": (animated("GIF"), "GIF, beside a picture that is read"),
    "good.tiff": (encoded("TIFF"), "TIFF, beside a picture that is read"),
    "good.bmp": (encoded("BMP"), "BMP, beside a picture that is read"),
}
USED = {
    "b.jfif": encoded("JPEG", 2),
    "c": encoded("PNG", 3),
    "d.JPG": encoded("WEBP", 4),
    "e\u0301.png": encoded("PNG", 5),
    "f.jpeg_large": encoded("JPEG", 6),
    "scan.1": encoded("PNG", 7),
    "scan.2": encoded("PNG", 8),
    "deep/er/g.png": encoded("PNG", 9),
    "B.2.png": encoded("PNG", 10),
    "good.jpg": encoded("JPEG", 11),
}
OPPOSITE = {
    **dict.fromkeys(("b.jpg", "c.png", "d.png", "\u00e9.png", "scan.1", "scan.2")),
    **dict.fromkeys(("f.jpeg_large", "deep/er/g.webp", "b.2.png", "good.png")),
}
BROKEN = {
    "torn.jpg": (encoded("JPEG")[:300], "damaged or truncated"),
    "empty.png": (b"", "not a readable"),
    "page.jpg": (b"<html>404</html>", "not a readable"),
    "loop.gif": (animated("GIF"), "animated (3 frames)"),
    "moving.webp": (animated("WEBP"), "animated (3 frames)"),
    "new.jxl": (b"\xff\x0a\0", "JPEG XL is not read"),
}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def junk(tmp_path: Path) -> Path:
    """Give a folder of ten pairs between the commonest junk and odd files."""
    write(tmp_path / "source", USED | {name: content for name, (content, _) in LEFT_OUT.items()})
    write(tmp_path / "target", {name: encoded("PNG", 100 + i) for i, name in enumerate(OPPOSITE)})
    source = tmp_path / "source"
    write(source / "__MACOSX", {"._good.jpg": b"\0\x05\x16\x07"})
    write(source / ".git", {"config": b"x"})
    (source / "x.jpg").mkdir()
    (source / "circle").symlink_to("circle")
    (source / "nowhere").symlink_to("gone")
    (source / "again").symlink_to(".", target_is_directory=True)
    os.mkfifo(source / "pipe")
    write(tmp_path, {"readme.md": b"mine"})
    return tmp_path


def test_every_file_is_used_or_named_with_the_reason(junk, caplog):
    with caplog.at_level(logging.INFO):
        pairs = examples.find_pairs(junk)
    used = {path.relative_to(junk / "source").as_posix() for path in (p.source for p in pairs)}
    assert used == set(USED)
    assert caplog.messages[0] == (
        f"10 pairs in {junk}: B.2, b, c, d, deep/er/g, f.jpeg_large, good, scan.1 and 2 more"
    )
    reasons = dict(re.findall(r"left out \((.+?)\): (.*)", "\n".join(caplog.messages)))
    expected = {name: reason for name, (_, reason) in LEFT_OUT.items()}
    expected |= {
        "__MACOSX/": "of the system",
        ".git/": "hidden",
        "x.jpg/": "empty folder",
        "circle": "too many levels of symbolic links",
        "nowhere": "no such file or directory",
        "again/": "link to a folder that is read",
        "pipe": "neither file nor folder",
    }
    assert len(expected) >= 40
    for name, reason in expected.items():
        (line,) = (names for given, names in reasons.items() if given.startswith(reason))
        shown = name.replace("\r", "\\r")
        assert f"source/{shown}" in line.split(", "), (name, reasons)
    assert reasons["beside source/, target/ and masks/"] == "readme.md"
    every = {path.relative_to(junk / "source").as_posix() for path in (junk / "source").rglob("*")}
    inside = ("__MACOSX/", ".git/")
    every -= {name for name in every if name.startswith(inside)} | {"deep", "deep/er"}
    assert every == set(USED) | {name.rstrip("/") for name in expected}


def test_a_training_accounts_for_every_file_in_its_output(junk, command, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "junk"
    words = ["dataset=folder", f"pairs={junk}", "method=sliders", "preview=false", "report=false"]
    code, out, err = command("train", *words, f"hydra.run.dir={run}", *QUICK)
    assert (code, err) == (0, "")
    assert f"10 pairs in {junk}: " in out
    lines = "\n".join(line for line in out.splitlines() if line.startswith("left out ("))
    named = {name for line in lines.splitlines() for name in line.split(": ", 1)[1].split(", ")}
    left = {f"source/{name}".replace("\r", "\\r") for name in LEFT_OUT} | {"readme.md"}
    left |= {f"source/{n}" for n in ("__MACOSX/", ".git/", "x.jpg/", "circle", "nowhere", "again/")}
    left.add("source/pipe")
    assert named == left
    assert len(left) + len(USED) >= 50
    assert list(run.glob("*/semantic.safetensors"))


def test_an_error_names_the_others_too(junk):
    write(junk / "source", {name: content for name, (content, _) in BROKEN.items()})
    write(junk / "target", {Path(name).stem + ".png": encoded("PNG", 50) for name in BROKEN})
    write(junk / "target", {"lonely.png": encoded("PNG", 51)})
    with pytest.raises(ValueError, match="7 problems with the pairs") as caught:
        examples.find_pairs(junk)
    text = str(caught.value)
    for name, (_, reason) in BROKEN.items():
        assert re.search(rf"source/{re.escape(name)}: .*{re.escape(reason)}", text), (name, text)
    assert "target/lonely.png: no image of that name in source/" in text
    for name in LEFT_OUT:
        assert "source/" + name.replace("\r", "\\r") in text


def test_case_alone_matches_only_where_it_is_clear(tmp_path):
    write(tmp_path / "source", {"A.png": encoded("PNG", 1), "x.png": encoded("PNG", 2)})
    write(tmp_path / "target", {"a.JPG": encoded("PNG", 3), "x.png": encoded("PNG", 4)})
    pairs = examples.find_pairs(tmp_path)
    assert [(p.source.name, p.target.name) for p in pairs] == [
        ("A.png", "a.JPG"),
        ("x.png", "x.png"),
    ]
    write(tmp_path / "source", {"X.png": encoded("PNG", 5)})
    with pytest.raises(ValueError, match=r"source/X\.png: no image of that name in target/"):
        examples.find_pairs(tmp_path)


def test_a_side_may_lie_in_the_other(tmp_path):
    write(tmp_path, {"a.png": encoded("PNG", 1), "edited/a.png": encoded("PNG", 2)})
    (pair,) = examples.find_pairs(tmp_path, source=".", target="edited")
    assert pair.source == tmp_path / "a.png"


def test_images_of_a_folder_are_accounted_for_too(tmp_path, caplog):
    write(tmp_path, {"a": encoded("JPEG", 1), "in/b.jfif": encoded("JPEG", 2), "c.txt": b"text"})
    with caplog.at_level(logging.INFO):
        found = examples.find_images(tmp_path)
    assert found == {"a": tmp_path / "a", "in/b": tmp_path / "in/b.jfif"}
    assert caplog.messages == [
        f"2 images in {tmp_path}: a, in/b",
        "left out (text): c.txt",
    ]


def test_heic_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    images.formats.cache_clear()
    write(tmp_path, {"phone.heic": PHONE})
    with pytest.raises(ValueError, match=r"phone\.heic: HEIF is not read; .*pip install pillow-he"):
        examples.find_images(tmp_path)
    images.formats.cache_clear()
    opened = []
    module = types.SimpleNamespace(register_heif_opener=lambda: opened.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    assert "HEIF" in images.formats()
    assert opened
    assert kinds.kind_of(tmp_path / "phone.heic") in images.formats()
    images.formats.cache_clear()


def test_what_a_pipe_or_a_folder_holds_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    found = folders.list_folder(tmp_path)
    assert "a.jpg: not a readable" in found.problems[0]
    assert "(neither file nor folder)" in found.problems[0]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.jpg", "a"), ("a.b.jfif", "a.b"), ("scan.1", "scan.1"), ("a", "a"), ("Mr. X", "Mr. X")],
)
def test_stems(name, stem):
    assert kinds.stem_of(name) == stem


def test_ids_are_stems_however_yaml_reads_them(tmp_path):
    for index, name in enumerate(("1e5", "007", "true", "null", "1_000", "610", "é")):
        write(tmp_path, {f"{name}.png": encoded("PNG", index)})
    pick = examples.pick_images
    assert list(pick(tmp_path, [1e5, 7, True, None, 1000, 610])) == [
        *("1e5", "007", "true", "null", "1_000", "610"),
    ]
    assert list(pick(tmp_path, "e\u0301")) == ["é"]
    with pytest.raises(ValueError, match="no 611 in"):
        pick(tmp_path, 611)
    with pytest.raises(ValueError, match="no nan in"):
        pick(tmp_path, float("nan"))
    with pytest.raises(ValueError, match="expected distinct"):
        pick(tmp_path, [7, "007"])
    write(tmp_path, {"07.png": encoded("PNG", 70)})
    with pytest.raises(ValueError, match=r"image_ids: 7 may be 007 or 07; in quotes"):
        pick(tmp_path, [7])

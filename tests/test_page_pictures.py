"""The pictures of README and pages: one script draws them, small and large enough."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
PHONE = 360  # px that a README has on a phone
MOST = 200_000  # bytes


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return lambda name: runpy.run_path(str(ROOT / f"scripts/{name}.py"))


def test_faces_are_large_on_a_phone(script):
    hero = script("hero")
    face = Image.new("RGB", (128, 128), "red")
    for count in (1, 3):
        sheet = hero["draw"]("age", [face] * 2 * count, [face] * 5, [face] * 5)
        assert sheet.width > sheet.height
        assert hero["CELL"] * PHONE / sheet.width >= 64
        assert hero["TYPE"] * PHONE / sheet.width >= 8


def test_pages_show_what_is_drawn_and_nothing_else_lies_there(script):
    shown = {
        name for page in PAGES for name in re.findall(r"pictures/([\w-]+\.\w+)\)", page.read_text())
    }
    assert shown == {path.name for path in PICTURES.iterdir() if path.is_file()}
    assert shown >= {f"{name}.webp" for name in script("pictures")["DRAWN"]}


@pytest.mark.parametrize("path", sorted(PICTURES.glob("*.*")), ids=lambda path: path.name)
def test_a_picture_is_quickly_loaded(path):
    assert path.stat().st_size <= MOST
    if path.suffix != ".svg":  # which fits any width
        with Image.open(path) as picture:
            assert picture.width >= 500


def test_an_unknown_picture_is_refused(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pictures.py", "ages"])
    with pytest.raises(SystemExit):
        script("pictures")["main"]()
    assert "ages: expected some of hero, age" in capsys.readouterr().err

"""The README's picture is told on a phone: few faces, large."""

import runpy
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PHONE = 360  # px that a README has on a phone


def test_faces_are_large_on_a_phone():
    script = runpy.run_path(str(ROOT / "scripts/readme_picture.py"))
    face, scales = Image.new("RGB", (128, 128), "red"), [-0.3, 0.0, 0.3, 0.6, 0.9]
    shown = dict.fromkeys(scales, face)
    for count in (1, 3):
        sheet = script["draw"]("age", [face] * 2 * count, scales, shown, shown)
        assert sheet.width > sheet.height
        assert script["CELL"] * PHONE / sheet.width >= 64
        assert script["TYPE"] * PHONE / sheet.width >= 8


def test_the_picture_is_small_enough_for_a_readme():
    path = ROOT / "docs/pictures/hero.webp"
    assert path.stat().st_size <= 400_000
    with Image.open(path) as picture:
        assert picture.width >= 1200

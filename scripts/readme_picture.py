"""Draw the wide picture of the README: three pairs, one person along the slider, a photograph.

    python scripts/readme_picture.py --lora outputs/demo/train-age/age/semantic.safetensors

Faces are few and large, so that they are told on a phone, where the picture is 360 px wide. The
columns are worth -0.5, 0, 0.5, 1 and 1.5 pairs, by what the slider's file notes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from pairedit.data.glance import glance
from pairedit.data.images import read_image
from pairedit.files import locate
from pairedit.lora.file import inspect_lora
from pairedit.pictures.lettering import text_width, write_text
from pairedit.pictures.sheet import ACCENT, INK, PAPER, QUIET
from pairedit.plan.eval import origin

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "hero.webp"
CELL, GAP, MARGIN = 304, 12, 20  # px
HEAD, TYPE = 46, 40  # px; a quarter of it on a phone
WORDS = ("-0.5 pair", "the person", "0.5 pair", "1 pair", "1.5 pairs")
SHARES = (-0.5, 0.0, 0.5, 1.0, 1.5)
QUALITY = 86


def main() -> None:
    """Render what is shown, draw it, write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lora", type=Path, required=True, help="a slider that is calibrated")
    parser.add_argument("--seed", type=int, default=12, help="the person")
    parser.add_argument("--photo", default="pkg://data/real/1867.png")
    parser.add_argument("--out", type=Path, default=PICTURE)
    asked = parser.parse_args()
    metadata = inspect_lora(asked.lora)
    known = origin(metadata)
    sides = [read_image(p) for pair in glance(locate(known.folder))[:3] for p in pair.images]
    scales = [float(f"{share * metadata['calibration']['scale']:.2g}") for share in SHARES]
    person = rendered(asked.lora, scales, [f"seeds=[{asked.seed}]"])
    edited = rendered(asked.lora, scales, ["edit=real", f"image={asked.photo}"])
    photo = {**edited, 0.0: read_image(locate(asked.photo))}
    sheet = draw(metadata["dataset"], sides, scales, person, photo)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(asked.out, format="WEBP", quality=QUALITY, method=6)
    print(
        f"{asked.out}: {sheet.width} x {sheet.height} px, {asked.out.stat().st_size / 1000:.0f} kB"
    )


def rendered(lora: Path, scales: Sequence[float], words: Sequence[str]) -> dict[float, Image.Image]:
    """Render a row by pairedit-gen; return its pictures by scale."""
    with tempfile.TemporaryDirectory() as folder:
        listed = ",".join(f"{scale:g}" for scale in scales)
        command = [sys.executable, "-m", "pairedit", "gen", f"lora={lora.resolve()}"]
        command += [f"scales=[{listed}]", f"hydra.run.dir={folder}", *words]
        subprocess.run(command, check=True, cwd=ROOT)
        found = {}
        for path in Path(folder, "images").glob("*.png"):
            scale = float(re.search(r"_scale([-+.\d]+)\.png$", path.name)[1])
            found[scale + 0.0] = read_image(path)
        return found


def draw(
    edit: str,
    sides: Sequence[Image.Image],
    scales: Sequence[float],
    person: Mapping[float, Image.Image],
    photo: Mapping[float, Image.Image],
) -> Image.Image:
    """Arrange everything; three lines, each below a few words."""
    width = 5 * CELL + 4 * GAP
    side = min(CELL, (width - 2 * 3 * GAP - 3 * GAP // 2) // len(sides))
    line = round(1.5 * HEAD)
    height = 3 * line + side + 2 * CELL + round(1.6 * TYPE) + 4 * GAP
    sheet = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), PAPER)
    y = MARGIN
    count = len(sides) // 2
    _say(sheet, f"Learnt from {count} pair{'s' * (count > 1)}: before, after", y)
    y, x = y + line, MARGIN
    for number, image in enumerate(sides):
        _put(sheet, image, x, y, side)
        x += side + (GAP // 2 if number % 2 == 0 else 3 * GAP)
    y += side + 2 * GAP
    _say(sheet, f"The {edit} slider on someone else", y)
    y += line
    for number, (scale, words) in enumerate(zip(scales, WORDS, strict=True)):
        x = MARGIN + number * (CELL + GAP)
        _put(sheet, person[scale], x, y, CELL)
        colour = ACCENT if words == "1 pair" else QUIET
        left = x + (CELL - text_width(TYPE, words)) // 2
        write_text(sheet, words, TYPE, colour, left, y + CELL + 4)
    one = MARGIN + 3 * (CELL + GAP)
    y += CELL + round(1.6 * TYPE)
    _say(sheet, "On a photograph", y)
    y += line
    for number, scale in enumerate(scales):
        _put(sheet, photo[scale], MARGIN + number * (CELL + GAP), y, CELL)
    for top in (y - CELL - line - round(1.6 * TYPE), y):
        box = (one - 7, top - 7, one + CELL + 6, top + CELL + 6)
        ImageDraw.Draw(sheet).rectangle(box, outline=ACCENT, width=6)
    return sheet


def _say(sheet: Image.Image, text: str, y: int) -> None:
    write_text(sheet, text, HEAD, INK, MARGIN, y)


def _put(sheet: Image.Image, image: Image.Image, x: int, y: int, side: int) -> None:
    sheet.paste(image.resize((side, side), Image.Resampling.LANCZOS), (x, y))


if __name__ == "__main__":
    main()

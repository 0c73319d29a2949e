"""Draw the pictures of README and docs that are not the studio's.

    python scripts/pictures.py [NAME ...] [--work outputs/pictures]

The sliders age and smile are trained once, into the work folder. Those that are there already are
used again; delete the folder to train anew. All else runs the commands that the pages name. NAME
chooses some pictures; `text-age` trains for minutes, so it is drawn only if it is named. Other
scripts draw the rest: mini_card.py faces, ablation_page.py ablation-*, cards_chart.py cards,
studio_pictures.py studio/.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does

from PIL import Image

import hero
from pairedit import cli
from pairedit.data.examples import find_pairs
from pairedit.data.images import read_image
from pairedit.files import locate
from pairedit.pictures.cells import fitted
from pairedit.pictures.pairs import band_of
from pairedit.pictures.sheet import Block, arrange, contact_sheet

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
QUALITY = 92
PAIRS, CALIBRATED = "pairs=false", "calibrated=true"
WORDS = "steps=86"  # of a text slider: what two cores do in about three minutes
PEOPLE = "seeds=[12,10,15]"
SMILES = "scales=[-0.2,0,0.2,0.4,0.6]"  # as in the command below the picture
REAL = (1867, 1743, 220)  # drawn portraits of people that no training saw
PORTRAITS = "image=[{}]".format(",".join(f"pkg://data/real/{n}.png" for n in REAL))
ONE = 4  # the column of a sheet of portraits that is worth one pair
SHAPES = ((96, 176), (112, 144), (128, 128), (160, 96))
REPORT = (1280, 1380)  # px of the browser: down to the first two curves
COVERED = "#d4d4d8"  # where a mask lets nothing through


class Outputs:
    """Run commands in one folder, each once in a call, all in this process."""

    def __init__(self, work: Path) -> None:
        """Take the folder that keeps sliders and renderings."""
        self.work = work
        self.gen = cache(self._gen)

    def slider(self, edit: str) -> Path:
        """Return the folder of a slider of all pages; train both if they are not there."""
        place = self.work / "sliders"
        if not (place / "smile" / "report.html").is_file():
            shutil.rmtree(place, ignore_errors=True)
            words = ["dataset=[age,smile]", "snapshots=true", "save_every=30"]
            run("train", *words, f"hydra.run.dir={place}")
        return place / edit

    def lora(self, edit: str) -> str:
        """Return the word that names a slider."""
        return f"lora={self.slider(edit) / 'semantic.safetensors'}"

    def _gen(self, *words: str) -> Path:
        """Render; return the folder."""
        place = self.work / f"gen{self.gen.cache_info().misses}"
        shutil.rmtree(place, ignore_errors=True)
        run("gen", *words, f"hydra.run.dir={place}")
        return place

    def age(self) -> Path:
        """Render some people by age, as by default."""
        return self.gen(self.lora("age"), PEOPLE)

    def portraits(self) -> Path:
        """Edit drawn portraits that no training saw, as photographs are edited."""
        return self.gen(self.lora("age"), "edit=real", PORTRAITS)


def run(program: str, *words: str) -> None:
    """Run a command as it stands; torch is imported once for all of them."""
    sys.argv = [f"pairedit-{program}", *words]
    getattr(cli, program)()


def drawn(number: int) -> Path:
    """Name the file of a drawn portrait."""
    return locate(f"pkg://data/real/{number}.png")


def lane(folder: Path, name: str = "") -> list[Image.Image]:
    """Read a row of pictures by rising scale: the only one, or that of a seed or portrait."""
    return [read_image(path) for path in scales(folder, name).values()]


def scales(folder: Path, name: str = "") -> dict[float, Path]:
    """Find the pictures of a row by their scales, which rise."""
    found = {}
    for path in (folder / "images").glob(f"*{name}_scale*.png"):
        scale = float(re.search(r"_scale([-+.\d]+)$", path.stem)[1])
        assert scale not in found, f"{folder} has several rows; name one"
        found[scale] = path
    return dict(sorted(found.items()))


def sheet(folder: Path, name: str = "sheet.png") -> Image.Image:
    """Read a sheet."""
    return read_image(folder / name)


def draw_hero(at: Outputs) -> Image.Image:
    """Draw the README's picture."""
    pairs = [read_image(p) for p in sorted(locate("pkg://data/age/source").glob("*.png"))[:3]]
    after = [read_image(p) for p in sorted(locate("pkg://data/age/target").glob("*.png"))[:3]]
    sides = [side for both in zip(pairs, after, strict=True) for side in both]
    portrait = lane(at.portraits(), "1867")
    portrait[1] = read_image(drawn(1867))
    return hero.draw("age", sides, lane(at.age(), "seed000012"), portrait)


def draw_real(at: Outputs) -> Image.Image:
    """Show drawn portraits beside their edits; a sheet of pairedit-gen calls them photographs."""
    place = at.portraits()
    rows = [[read_image(drawn(number)), *lane(place, str(number))] for number in REAL]
    shown = [[fitted(image) for image in row] for row in rows]
    pairs = band_of(find_pairs(locate("pkg://data/age")), rows[0][0].size)
    heads = ["portrait", *(f"{scale:g}" for scale in scales(place, str(REAL[0])))]
    heads[ONE] += " = one pair"
    portraits = Block(
        rows=shown, row_labels=[str(n) for n in REAL], column_labels=heads, framed=ONE
    )
    above = pairs.block(width=len(heads) * shown[0][0].width, cell=shown[0][0])
    return arrange([[above], [portraits]], "age")


def draw_shapes(at: Outputs) -> Image.Image:
    """Show one seed at several sizes."""
    asked = (at.lora("age"), "seeds=[1]", PAIRS, CALIBRATED, "scales=[0,1]")
    rows = [lane(at.gen(*asked, f"size=[{wide},{tall}]")) for wide, tall in SHAPES]
    labels = [f"{wide} x {tall} px" for wide, tall in SHAPES]
    shown = [[fitted(image) for image in row] for row in rows]
    return contact_sheet(shown, labels, ["scale 0", "one pair's worth"])


def draw_masks(at: Outputs) -> Image.Image:
    """Show two drawn portraits, edited everywhere and inside of a mask."""
    rows, labels = [], []
    for number, (wide, tall) in ((1867, (128, 128)), (220, (144, 112))):
        whole = read_image(drawn(number)).resize((wide, wide))
        portrait = whole.crop((0, 0, wide, tall))
        mask = Image.new("L", portrait.size, 0)
        mask.paste(255, (0, 0, wide // 2, tall))
        paths = [at.work / f"{number}-{name}.png" for name in ("portrait", "mask")]
        for image, path in zip((portrait, mask), paths, strict=True):
            image.save(path)
        asked = ("edit=real", f"image={paths[0]}", at.lora("age"), PAIRS, CALIBRATED)
        asked = (*asked, "scales=[0,1]")
        plain, masked = (lane(at.gen(*asked, *more)) for more in ((), (f"mask={paths[1]}",)))
        through = Image.composite(portrait, Image.new("RGB", portrait.size, COVERED), mask)
        rows.append([fitted(image) for image in (portrait, through, *plain, masked[1])])
        labels.append(f"{wide} x {tall} px")
    heads = ["portrait", "where the mask is", "scale 0", "one pair's worth", "in the mask only"]
    return contact_sheet(rows, labels, heads)


def draw_row(at: Outputs) -> Image.Image:
    """Show the pictures of one person beside each other, without anything else."""
    row = [fitted(image) for image in lane(at.age(), "seed000012")[1:]]
    return contact_sheet([row], [""], [""] * len(row))


def draw_words(at: Outputs) -> Image.Image:
    """Show a slider that was learnt from words."""
    place = at.work / "words"
    if not (place / "text_age" / "report.html").is_file():
        shutil.rmtree(place, ignore_errors=True)
        run("train", "method=slider_text", "dataset=text_age", WORDS, f"hydra.run.dir={place}")
    lora = f"lora={place / 'text_age' / 'semantic.safetensors'}"
    return sheet(at.gen(lora, PEOPLE, "scales=[-0.4,0,0.2,0.4,0.8]", "skip=6"))


def draw_grid(at: Outputs) -> Image.Image:
    """Show two sliders together."""
    both = ",".join(at.lora(edit).partition("=")[2] for edit in ("age", "smile"))
    asked = (f"lora=[{both}]", "scales=[0,0.3,0.6]", "grid=true", "seeds=[12]")
    return sheet(at.gen(*asked))


def draw_snapshots(at: Outputs) -> Image.Image:
    """Show states of a training."""
    asked = (f"lora={at.slider('smile')}", "snapshots=true", "scales=[0,0.2,0.4,0.6,0.8]")
    return sheet(at.gen(*asked, "seeds=[19]", PAIRS))


def draw_overview(at: Outputs) -> Image.Image:
    """Show many seeds."""
    asked = (at.lora("smile"), "overview=true", "seeds={start: 8, count: 8}")
    return sheet(at.gen(*asked), "overview.png")


def draw_astronaut(at: Outputs) -> Image.Image:
    """Show a photograph of a person."""
    asked = ("edit=real", "image=pkg://data/real_photo/astronaut.png", PAIRS)
    return sheet(at.gen(at.lora("age"), *asked, "scales=[0,0.2,0.4]"))


def draw_report(at: Outputs) -> Image.Image | None:
    """Show the upper part of a training's report, where there is a browser."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        return None
    page, path = at.slider("age") / "report.html", at.work / "report.png"
    words = ("--headless=new", "--no-sandbox", "--hide-scrollbars", f"--screenshot={path}")
    size = "--window-size={},{}".format(*REPORT)
    subprocess.run([browser, *words, size, page.as_uri()], check=True, capture_output=True)
    return read_image(path)


DRAWN: dict[str, Callable[[Outputs], Image.Image | None]] = {
    "hero": draw_hero,
    "age": lambda at: sheet(at.age()),
    "smile": lambda at: sheet(at.gen(at.lora("smile"), "seeds=[10,12,13]", SMILES)),
    "pairs": lambda at: sheet(at.slider("age"), "pairs.png"),
    "real": draw_real,
    "overview": draw_overview,
    "snapshots": draw_snapshots,
    "composition": draw_grid,
    "masks": draw_masks,
    "astronaut": draw_astronaut,
    "shapes": draw_shapes,
    "python": draw_row,
    "report": draw_report,
    "text-age": draw_words,
}
LONG = {"text-age"}


def main() -> None:
    """Draw what is asked for, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(DRAWN)}")
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/pictures"), help="where sliders are kept"
    )
    parser.add_argument("--out", type=Path, default=PICTURES, help="the folder to write to")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(DRAWN):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(DRAWN)}")
    at = Outputs(asked.work.resolve())
    asked.out.mkdir(parents=True, exist_ok=True)
    begun, said = time.monotonic(), []
    for name in asked.names or [name for name in DRAWN if name not in LONG]:
        image, path = DRAWN[name](at), asked.out / f"{name}.webp"
        if image is None:
            print(f"{path}: left as it is, since there is no chromium", flush=True)
            continue
        image.save(path, format="WEBP", quality=QUALITY, method=6)
        size, spent = path.stat().st_size / 1000, time.monotonic() - begun
        said.append(f"{path}: {image.width} x {image.height} px, {size:.0f} kB, at {spent:.0f} s")
        print(said[-1], flush=True)
    print("\n".join(said))


if __name__ == "__main__":
    main()

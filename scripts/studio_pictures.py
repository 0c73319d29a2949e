"""Take the pictures of docs/studio.md, and the animation of the README, in a real browser.

    python scripts/studio_pictures.py --runs outputs/train

Needs what `make test-browser` installs. Every tab is shown at two widths, some of it in the dark.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTHS = (1600, 390)
FILM = 400  # px, the width of the animation
MARGIN = 14  # px around what is filmed: the slider's knob stands out at both ends
COLOURS = 256  # of a screenshot; enough for a calm page
MOVES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
# Whether a row has so many pictures, and nothing is rendered any more.
WHOLE = """([place, count]) => {
  const row = document.querySelector(`#${place} pairedit-row[ready]`);
  const said = document.querySelector(`#${place}-said`)?.textContent ?? "";
  return row && !said.includes("Rendering")
    && JSON.parse(row.getAttribute("data")).panes[0].pictures.length >= count;
}"""


def main() -> None:
    """Start a studio, walk through its tabs, end it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="a folder of trainings to show")
    parser.add_argument(
        "--chromium", default=shutil.which("chromium"), help="the path of the browser"
    )
    parser.add_argument(
        "--only", nargs="+", default=[*TABS, "film", "pad"], help="take only these pictures"
    )
    parser.add_argument(
        "--widths", nargs="+", type=int, default=WIDTHS, help="the widths of the browser in px"
    )
    parser.add_argument(
        "--place",
        type=Path,
        default=Path("/srv/pairedit"),
        help="the working folder of the studio, whose path stands in the pictures; it is made "
        "for them, and removed",
    )
    asked = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked.place.mkdir(parents=True)  # one that is there already is not ours to remove
    try:
        shutil.copytree(asked.runs, asked.place / "outputs" / "train")
        words = ["browser=false", f"port={port}", "device=cpu"]
        command = [sys.executable, "-m", "pairedit", "studio", *words]
        with subprocess.Popen(command, cwd=asked.place) as server:
            try:
                walk(f"http://127.0.0.1:{port}/", asked.chromium, asked.only, asked.widths)
            finally:
                server.terminate()
    finally:
        shutil.rmtree(asked.place)


def walk(address: str, chromium: str, only: list[str], widths: list[int]) -> None:
    """Take the pictures that are asked for."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in widths if set(only) & set(TABS) else ():
            page = opened(browser, address, width, "light")
            for name, walk_to in TABS.items():
                if name in only:
                    walk_to(page, width)
            page.close()
        if "film" in only:
            film(opened(browser, address, 560, "light"))
        if "pad" in only:
            pad(opened(browser, address, max(WIDTHS), "dark"))
        browser.close()


def opened(browser: Any, address: str, width: int, scheme: str) -> Any:
    """Open the page once it is there."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(200_000)
    for _ in range(400):
        try:
            page.goto(address)
            break
        except Exception:  # nobody answers yet
            time.sleep(0.3)
    page.wait_for_function(WHOLE, arg=["play", len(MOVES)])
    return page


def play(page: Any, width: int) -> None:
    """Show the tab to play in."""
    shoot(page, f"play-{width}")


def pad(page: Any) -> None:
    """Show two sliders, in the dark."""
    page.get_by_label("Second slider").click()
    page.get_by_role("option", name="glasses").first.click()
    page.wait_for_function(WHOLE, arg=["play", 25])
    page.get_by_role("button", name="Next person").click()
    page.wait_for_function(
        "document.querySelector('#play pairedit-row[ready]')?.getAttribute('data')"
        ".includes('seed000001')"
    )
    page.wait_for_function(WHOLE, arg=["play", 25])
    page.locator("#play pairedit-row input").first.focus()
    shoot(page, f"pad-{max(WIDTHS)}")


def train(page: Any, width: int) -> None:
    """Show the tab to train in, with the last training."""
    page.get_by_role("tab", name="Train").click()
    page.locator("#status progress").wait_for()
    page.wait_for_timeout(2500)
    shoot(page, f"train-{width}")


def photograph(page: Any, width: int) -> None:
    """Show a photograph, edited."""
    page.get_by_role("tab", name="Photograph").click()
    photo = ROOT / "data" / "real" / "220.png"  # who does not laugh already
    page.locator("#photograph input[type=file]").set_input_files(str(photo))
    page.wait_for_function(WHOLE, arg=["photo", len(MOVES)])
    shoot(page, f"photograph-{width}")


def library(page: Any, width: int) -> None:
    """Show all runs, and one of them."""
    page.get_by_role("tab", name="Library").click()
    page.locator("#runs button").first.wait_for()
    page.wait_for_timeout(1500)
    page.locator("#runs button").first.click()
    page.locator("#about table").wait_for()
    page.wait_for_timeout(1000)
    shoot(page, f"library-{width}")


def shoot(page: Any, name: str) -> None:
    """Write the whole page as a small PNG."""
    page.wait_for_timeout(700)
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    path = PICTURES / "studio" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    image.quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE).save(path, optimize=True)


def film(page: Any) -> None:
    """Write the animation of the README: the slider, dragged."""
    row = page.locator("#play pairedit-row")
    row.locator("input").first.focus()
    frames = []
    for _ in MOVES:
        page.keyboard.press("ArrowLeft")
    row.scroll_into_view_if_needed()
    box = row.bounding_box()
    clip = {side: box[side] - MARGIN for side in ("x", "y")}
    clip |= {length: box[length] + 2 * MARGIN for length in ("width", "height")}
    for _ in MOVES:
        frames.append(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB"))
        page.keyboard.press("ArrowRight")
    size = (FILM, frames[0].height * FILM // frames[0].width)
    small = [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]
    path = PICTURES / "studio" / "drag.webp"
    # There and back. A quarter of what it would have without loss, and nobody sees a difference.
    both = [*small, *small[-2:0:-1]]
    times = [1200 if k in (0, len(small) - 1) else 300 for k in range(len(both))]
    look = {"duration": times, "loop": 0, "quality": 90, "method": 6}
    both[0].save(path, save_all=True, append_images=both[1:], **look)


TABS = {"play": play, "train": train, "photograph": photograph, "library": library}

if __name__ == "__main__":
    main()

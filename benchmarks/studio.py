"""Measure from the start of pairedit-studio to the first dragged picture, and how a move follows.

    python benchmarks/studio.py [--runs 3] [--running] [--log]

Needs what `make test-browser` installs. Each run has an outputs folder of its own, which is empty.
Bytecode is kept in a temporary folder, as an installation keeps it; the first run does not count.

    answers  the server answers for the first time
    page     the page can be seen
    row      two pictures or more can be dragged
    moved    an arrow key has moved the slider
    whole    all pictures of the row are there, and nothing is rendered any more

By default the browser is started once the server answers; with --running it is open before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
ROW = "#play pairedit-row[ready]"
WHOLE = """() => {
  const row = document.querySelector("#play pairedit-row[ready]");
  const said = document.querySelector("#play-said")?.textContent ?? "";
  return row && !said.includes("Rendering")
    && JSON.parse(row.getAttribute("data")).panes[0].pictures.length >= 7;
}"""
# Milliseconds from a real event of the mouse until its frame was painted.
TIMED = """host => {
  window.times = [];
  host.shadowRoot.querySelector("input").addEventListener("input", (event) =>
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.times.push(performance.now() - event.timeStamp);
      channel.port2.postMessage(0);
    }));
}"""
PHASES = ("answers", "page", "row", "moved", "whole")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="how often the studio is started")
    parser.add_argument("--running", action="store_true", help="the browser is open before")
    parser.add_argument("--log", action="store_true", help="print what the studio has said")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser's path")
    asked = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        for run in range(asked.runs + 1):
            folder = Path(place) / str(run)
            folder.mkdir()
            seconds = started(folder, f"{place}/bytecode", asked.chromium, asked.running)
            if asked.log:
                print((folder / "studio.log").read_text())
            for name, value in seconds.items() if run else ():
                found.setdefault(name, []).append(value)
    print(f"{'':40}{'min':>8}{'median':>8}")
    for name, values in found.items():
        print(f"{name:40}{min(values):8.2f}{statistics.median(values):8.2f}")


def started(folder: Path, bytecode: str, chromium: str, running: bool) -> dict[str, float]:
    """Start a studio in an empty folder, open it, drag; return the seconds of each phase."""
    from playwright.sync_api import sync_playwright

    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["browser=false", f"port={port}", "device=cpu"]
    with sync_playwright() as playwright, (folder / "studio.log").open("wb") as log:
        launch: dict[str, Any] = {"executable_path": chromium, "args": QUIET}
        browser = playwright.chromium.launch(**launch) if running else None
        begun = time.monotonic()
        server = subprocess.Popen(
            [sys.executable, "-m", "pairedit", "studio", *words],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            wait(f"http://127.0.0.1:{port}/", server)
            seconds = {"answers": time.monotonic() - begun}
            browser = browser or playwright.chromium.launch(**launch)
            drag(browser, f"http://127.0.0.1:{port}/", seconds, begun)
            for name, spent in computed(server.pid).items():
                seconds[f"{name} has computed, until whole"] = spent
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)
    return seconds


def drag(browser: Any, address: str, seconds: dict[str, float], begun: float) -> None:
    """Open the page, and move its slider as soon as there is one."""
    page = browser.new_page()
    page.set_default_timeout(200_000)
    page.goto(address)
    page.get_by_role("tab", name="Play").wait_for()
    seconds["page"] = time.monotonic() - begun
    row = page.locator(ROW)
    row.wait_for()
    seconds["row"] = time.monotonic() - begun
    row.locator("input").first.focus()
    before = row.get_attribute("data-at")
    page.keyboard.press("ArrowLeft")
    if row.get_attribute("data-at") == before:
        raise ValueError("the slider has not moved")
    seconds["moved"] = time.monotonic() - begun
    page.wait_for_function(WHOLE)
    seconds["whole"] = time.monotonic() - begun
    page.wait_for_timeout(2000)
    times = moves(page, row)
    seconds["ms from a move to the screen, median"] = statistics.median(times)
    seconds["ms from a move to the screen, worst"] = max(times)


def moves(page: Any, row: Any) -> list[float]:
    """Drag the slider by the mouse; return the milliseconds of each move."""
    row.evaluate(TIMED)
    row.locator("input").first.scroll_into_view_if_needed()
    box = row.locator("input").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.34, y)
    page.mouse.down()
    for share in (0.34, 0.5, 0.66, 0.83, 0.99):
        page.mouse.move(box["x"] + box["width"] * share, y, steps=6)
    page.mouse.up()
    page.wait_for_timeout(200)
    return page.evaluate("window.times")


def wait(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until somebody answers.

    Raises:
        ValueError: the studio has ended.
    """
    while True:
        if server.poll() is not None:
            raise ValueError(f"the studio ended with {server.returncode}")
        try:
            urllib.request.urlopen(address, timeout=60).close()
            return
        except OSError:
            time.sleep(0.05)


def computed(server: int) -> dict[str, float]:
    """Return the processor's seconds of the server and its worker, where /proc tells."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(place.parent.name)
        if server in (number, int(fields[1])):
            name = "the server" if number == server else "the worker"
            spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found[name] = found.get(name, 0.0) + spent
    return found


if __name__ == "__main__":
    main()

"""Render the row that ships with the first slider of the studio: python scripts/shipped_rows.py.

The page of a new installation shows it at once. Run it again when that slider, flux-mini or the
sampler has changed; tests/studio/test_shipped.py notices that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from pairedit.files import locate
from pairedit.studio.hand import Hand
from pairedit.studio.rows import Asked, Rows, slider_at
from pairedit.studio.shipped import ASKED, NOTES, ROWS, SLIDERS, copy

PARTS = {"model": "flux-mini", "hardware": "auto"}


def main() -> None:
    """Write data/sliders/rows."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = locate(ROWS)
    shutil.rmtree(rows, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        render(Path(folder), rows)
    print(f"{rows}: {sum(path.stat().st_size for path in rows.rglob('*.*')) / 1e3:.0f} kB")


def render(folder: Path, rows: Path) -> None:
    """Render each part of the first row as the studio does.

    Args:
        folder: receives what pairedit-gen writes.
        rows: receives what ships.
    """
    path = min(locate(SLIDERS).glob("*.safetensors"))
    asked = Asked(sliders=(slider_at(path, path.stem),)).first
    hand = Hand(folder)
    kept = Rows(folder, hand, PARTS, {"device": "cpu"})
    try:
        for number, stage in enumerate(asked.stages):
            place, to = kept.render(stage), rows / f"{path.stem}-{number}"
            # A path of this machine would mean nothing elsewhere.
            copy(place / "images", to / "images", f"{SLIDERS}/{path.name}")
            notes = json.loads((place / NOTES).read_text(encoding="utf-8"))
            text = json.dumps({**notes, ASKED: kept.described(stage)})
            (to / NOTES).write_text(text + "\n", encoding="utf-8")
    finally:
        hand.rest()


if __name__ == "__main__":
    main()

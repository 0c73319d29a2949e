"""Own rows that ship: of a shipped slider, rendered when that was made, so that nobody waits.

    data/sliders/rows/NAME/   images/, and notes.json: what `jobs.row` notes, and what was asked

scripts/shipped_rows.py makes them. One is taken only where just the same is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from pairedit.files import locate, replacing
from pairedit.pictures.png import read_metadata, save_png
from pairedit.studio.tidying import inside

SLIDERS = "pkg://data/sliders"
ROWS = f"{SLIDERS}/rows"
NOTES = "notes.json"  # written last, by `jobs.row`
ASKED = "asked"  # the note that only rows have that shipped
ANYWHERE = ("device",)  # keys that decide where it is rendered, not what


def asked_of(keys: Mapping[str, Any], parts: Mapping[str, str]) -> dict[str, Any] | None:
    """Say what a row shows on every machine; None where that is no slider which ships.

    Args:
        keys: of pairedit-gen, for one row.
        parts: options of pairedit-gen by group.
    """
    (path, *others) = keys["lora"]
    if others or Path(path).parent != locate(SLIDERS):
        return None
    checksum = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    kept = {key: value for key, value in keys.items() if key not in (*ANYWHERE, "lora")}
    return {**kept, "parts": dict(parts), "sha256": checksum}


def lay_out(keys: Mapping[str, Any], parts: Mapping[str, str], place: Path) -> None:
    """Copy the row that ships into a folder, if there is one.

    Args:
        keys: of pairedit-gen, for one row.
        parts: options of pairedit-gen by group.
        place: receives what the worker would write there.
    """
    asked = asked_of(keys, parts)
    if asked is None:
        return
    for folder in inside(locate(ROWS)):
        notes = (folder / NOTES).read_text(encoding="utf-8")
        if json.loads(notes)[ASKED] == asked:
            copy(folder / "images", place / "images", str(Path(keys["lora"][0]).resolve()))
            with replacing(place / NOTES) as temporary:
                temporary.write_text(notes, encoding="utf-8")


def copy(images: Path, to: Path, lora: str) -> None:
    """Copy pictures, which then name the slider by its path there."""
    to.mkdir(parents=True, exist_ok=True)
    for path in sorted(images.glob("*.png")):
        with Image.open(path) as image:
            save_png(image, to / path.name, {**read_metadata(path), "lora.0.path": lora})

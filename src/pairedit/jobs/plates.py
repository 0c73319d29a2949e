"""Own plates on disk: sliders side by side, as one job leaves them for another that reports."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from pairedit.measure.report import Plate
from pairedit.pictures.png import read_metadata, save_png

ENTRY = "plate"  # of the PNG's text


def save_plate(plate: Plate, path: Path) -> None:
    """Write the pictures of a plate, all of one size, as one, with their names."""
    width, height = plate.rows[0][0].size
    whole = Image.new("RGB", (len(plate.captions) * width, len(plate.rows) * height))
    for y, row in enumerate(plate.rows):
        for x, image in enumerate(row):
            whole.paste(image, (x * width, y * height))
    entry = {"labels": list(plate.labels), "captions": list(plate.captions)}
    save_png(whole, path, {ENTRY: json.dumps(entry)})


def read_plate(path: Path) -> Plate:
    """Read what `save_plate` wrote."""
    entry = json.loads(read_metadata(path)[ENTRY])
    labels, captions = entry["labels"], entry["captions"]
    with Image.open(path) as file:
        whole = file.convert("RGB")
    width, height = whole.width // len(captions), whole.height // len(labels)
    rows = [
        [
            whole.crop((x * width, y * height, (x + 1) * width, (y + 1) * height))
            for x in range(len(captions))
        ]
        for y in range(len(labels))
    ]
    return Plate(rows=rows, labels=labels, captions=captions)

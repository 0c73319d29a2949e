"""Own the curve of a training's losses: as it is noted in metrics.jsonl, and its running mean."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

WINDOW = 0.1  # of the steps; the mean runs over so many

Curve = Sequence[tuple[int, float]]  # steps and losses


def read_losses(folder: Path) -> Curve:
    """Read the losses of a training so far; none where nothing is noted."""
    lines = []
    # A line that is being written, or was cut off, is not counted.
    with suppress(OSError), (folder / "metrics.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    # null stands for a loss that was no finite number.
    known = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    return [(step, math.nan if loss is None else loss) for step, loss in known]


def means(known: Curve) -> list[tuple[int, float]]:
    """Return the mean of the losses up to each step, over the last few."""
    width = max(1, round(WINDOW * len(known)))
    values = [value for _, value in known]
    return [
        (step, math.fsum(part) / len(part))
        for number, (step, _) in enumerate(known, 1)
        if number >= width
        for part in [values[number - width : number]]
    ]

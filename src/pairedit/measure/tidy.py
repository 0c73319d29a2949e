"""Own the numbers of an evaluation as one tidy table: one row for each picture and measure."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pairedit.files import replacing
from pairedit.measure.evaluate import Result
from pairedit.measure.table import numbers


def write_tidy(results: Sequence[Result], path: Path) -> None:
    """Write a CSV that `pandas.read_csv` takes as it is: what there is not is empty.

    Args:
        results: of one evaluation.
        path: the file to write.
    """
    swept = list(dict.fromkeys(key for result in results for key in result.subject.swept))
    heads = ["edit", "slider", "method", *swept, "training_seed", "scale"]
    heads += ["picture_seed", "prompt", "measure", "value"]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        for result in results:
            subject = result.subject
            values = [subject.swept.get(key, "") for key in swept]
            seed = "" if subject.seed is None else subject.seed
            about = [subject.dataset, subject.label, subject.method, *values, seed]
            writer.writerows([*about, *row] for row in _rows(result))


def _rows(result: Result) -> Iterator[list[Any]]:
    """Yield scale, seed and prompt of the picture, measure, value; of one number one row."""
    seen = result.seen
    for measured in result.summaries:
        values = measured(seen)
        if not values.ndim:
            yield ["", "", "", measured.name, _cell(numbers(values))]
            continue
        if values.shape[0] != len(result.lanes):
            continue  # a curve over the scales alone
        for (seed, prompt), lane in zip(result.lanes, values, strict=True):
            if not lane.ndim:
                yield ["", seed, prompt, measured.name, _cell(numbers(lane))]
                continue
            for scale, value in zip(seen.scales, numbers(lane), strict=True):
                yield [scale, seed, prompt, measured.name, _cell(value)]


def _cell(value: Any) -> Any:
    return "" if value is None else value

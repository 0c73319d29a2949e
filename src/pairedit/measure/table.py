"""Own how results are written down: the table of a comparison, `eval.json`, the text printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pairedit.measure.evaluate import Result
from pairedit.measure.intervals import Summary, at
from pairedit.measure.measures import MEASURES
from pairedit.mini.attributes import EDITS, IDENTITY

HEADS = (
    "edit",
    "slider",
    "verdict",
    "at most",
    "one pair at",
    "usable scales",
    "off-target",
    "identity",
    "monotonic",
)
ABSENT = "–"


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Write one row for each slider, in the order of `HEADS`.

    `at most` and `one pair at` tell how strong the slider is; `off-target` and `identity` are
    read where it reaches `Evidence.match` of one pair's worth, so that strength does not decide.
    """
    rows = []
    for result in results:
        known = result.summaries
        start, end = (_single(known, name) for name in ("starts at", "lost at"))
        last = result.seen.scales[-1]
        usable = ABSENT
        if start is not None and result.verdict.name not in ("no-op", "destructive"):
            usable = f"{start:.2f} to " + (f"{last:g}+" if end is None else f"{end:.2f}")
        rows.append(
            (
                result.subject.dataset,
                result.subject.label,
                result.verdict.name,
                _percent(known.get("best share")),
                _range(known.get("calibration"), 2),
                usable,
                _range(known.get("matched off-target"), 3),
                _range(known.get("matched identity"), 2),
                _range(known.get("monotonicity"), 2),
            )
        )
    return rows


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align a table with spaces."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]
    return "\n".join(lines)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_json(results: Sequence[Result], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn results into JSON values; what there is not is null.

    Args:
        results: of one evaluation.
        settings: what holds for all of them.
    """
    return {
        "settings": dict(settings),
        "measures": {name: measured.meaning for name, measured in MEASURES.items()},
        "table": {"heads": list(HEADS), "rows": [list(row) for row in table(results)]},
        "sliders": [
            {
                "lora": str(result.subject.lora.path.resolve()),
                "edit": result.subject.dataset,
                "slider": result.subject.label,
                "attribute": result.seen.attribute,
                "verdict": result.verdict.name,
                "advice": result.verdict.advice,
                "scales": list(result.seen.scales),
                "measures": {
                    name: {
                        "mean": numbers(summary.mean),
                        "low": numbers(summary.low),
                        "high": numbers(summary.high),
                    }
                    for name, summary in result.summaries.items()
                },
                "missing": dict(result.missing),
                "attributes": moved(result),
            }
            for result in results
        ],
    }


def moved(result: Result) -> dict[str, float]:
    """Return the mean change of every attribute where the slider is compared with others.

    Empty without a probe. The scale is that of `comparable`.
    """
    if "probe" not in result.seen.readings:
        return {}
    names = (*EDITS, *IDENTITY)
    change = at(result.seen.scales, result.seen.attributes(names).mean(0), comparable(result)[0])
    return dict(zip(names, change.tolist(), strict=True))


def comparable(result: Result) -> tuple[float, bool]:
    """Return the scale at which to look at a slider beside others, and whether it is matched.

    Where it never gets as far as the others: the scale of its largest effect before identity is
    lost, else its smallest positive scale.
    """
    seen = result.seen
    scale = _single(result.summaries, "matched scale")
    if scale is not None:
        return scale, True
    up = [s for s in seen.scales if s > 0]
    kept = [s for s in up if result.verdict.lost_at is None or s < result.verdict.lost_at]
    curve = result.summaries.get("share of a pair", result.summaries["image change"]).mean
    best = max(kept, key=lambda s: float(curve[seen.scales.index(s)]), default=up[0])
    return best, False


def numbers(values: Tensor) -> Any:
    """Turn a tensor into JSON; what is not finite becomes null."""
    if values.ndim:
        return [numbers(value) for value in values]
    number = float(values)
    return round(number, 6) if math.isfinite(number) else None


def _single(known: Mapping[str, Summary], name: str) -> float | None:
    """Return the mean of a measure of one value, if there is one."""
    return numbers(known[name].mean) if name in known else None


def _percent(summary: Summary | None) -> str:
    """Write a share of one pair's worth."""
    mean = None if summary is None else numbers(summary.mean)
    return ABSENT if mean is None else f"{100 * mean:.0f} %"


def _range(summary: Summary | None, digits: int) -> str:
    """Write a mean with its interval."""
    if summary is None:
        return ABSENT
    mean, low, high = (numbers(part) for part in (summary.mean, summary.low, summary.high))
    if mean is None:
        return ABSENT
    ends = [ABSENT if end is None else f"{end:.{digits}f}" for end in (low, high)]
    return f"{mean:.{digits}f} ({' … '.join(ends)})"

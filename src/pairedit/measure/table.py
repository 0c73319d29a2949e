"""Own how results are written down: the table of a comparison, `eval.json`, the text printed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from pairedit.measure import measures
from pairedit.measure.evaluate import Result
from pairedit.measure.evidence import Column, Evidence, Measure
from pairedit.measure.families import comparisons, families, silence, spread, value_of
from pairedit.measure.intervals import Summary, at
from pairedit.measure.measures import MEASURES
from pairedit.measure.subject import Unit, too_few
from pairedit.settings import scale_text

ABSENT = "–"
OPEN = "…"  # nothing has read where it ends
USABLE = Column("usable scales", place=30)  # between two measures, so it is drawn here


def heads() -> tuple[str, ...]:
    """Name the columns of `table`."""
    return ("edit", "slider", "verdict", *(column.head for column, _ in _columns()))


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Write one row for each slider, or those that differ in their seeds alone, as in `heads`.

    `at most` and `one pair at` tell how strong the slider is; `off-target` and `identity` are
    read where it reaches `Evidence.match` of one pair's worth, so that strength does not decide.
    """
    rows = []
    for family in families(results):
        alone = family.members[0] if len(family.members) == 1 else None
        verdicts = Counter(result.verdict.told for result in family.members)
        rows.append(
            (
                family.dataset,
                alone.subject.label if alone else f"{family.label} (n={len(family.members)})",
                ", ".join(name if alone else f"{name} {n}" for name, n in verdicts.items()),
                *(
                    cell(alone) if alone else _over(column, family.members)
                    for column, cell in _columns()
                ),
            )
        )
    return rows


def _over(column: Column, members: Sequence[Result]) -> str:
    """Write mean and standard deviation over several trainings, and how many had a value."""
    measured = next((m for m in MEASURES.values() if m.column is column), None)
    if measured is None:
        starts, ends = (
            [v for r in members if r.usable and (v := value_of(r, m)) is not None]
            for m in (measures.usable_from, measures.usable_to)
        )
        end = scale_text(spread(ends)[0]) if len(ends) == len(members) else OPEN
        return f"{scale_text(spread(starts)[0])} to {end}" if starts else ABSENT
    values = [v for r in members if (v := value_of(r, measured)) is not None]
    if not values:
        return ABSENT
    mean, sd = spread(values)
    alone = len(values) == 1  # of one value there is no spread
    some = "" if len(values) == len(members) else f" ({len(values)} of {len(members)})"
    if column.percent:
        return f"{100 * mean:.0f}{'' if alone else f' ± {100 * sd:.0f}'} %{some}"
    width = "" if alone else f" ± {sd:.{column.digits}f}"
    return f"{_written(measured, mean)}{width}{some}"


def _columns() -> list[tuple[Column, Callable[[Result], str]]]:
    """List what the table shows of each slider, in order."""

    def cell(measured: Measure) -> Callable[[Result], str]:
        return lambda result: _cell(
            measured, result.summaries.get(measured), len(result.seen.distance)
        )

    shown = [(m.column, cell(m)) for m in MEASURES.values() if m.column]
    return sorted([*shown, (USABLE, _usable)], key=lambda known: known[0].place)


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
    differences = list(comparisons(results))
    return {
        "settings": dict(settings),
        "measures": {name: measured.meaning for name, measured in MEASURES.items()},
        "differences": differences,
        "no_differences": silence(results, differences),
        "table": {"heads": list(heads()), "rows": [list(row) for row in table(results)]},
        "sliders": [
            {
                "lora": str(result.subject.path.resolve()),
                "edit": result.subject.dataset,
                "slider": result.subject.label,
                "method": result.subject.method,
                "training_seed": result.subject.seed,
                "swept": dict(result.subject.swept),
                "attribute": result.seen.attribute,
                "skip": result.subject.skip,
                "local": result.subject.local,
                "schedule": result.subject.lean,
                "flowedit": result.subject.flowedit,
                "guessed": result.seen.guessed,
                "verdict": result.verdict.name,
                **({"doubt": result.verdict.doubt} if result.verdict.doubt else {}),
                "advice": result.advise(),
                "scales": list(result.seen.scales),
                "measures": {
                    measured.name: {
                        "mean": numbers(summary.mean),
                        "low": numbers(summary.low),
                        "high": numbers(summary.high),
                        **(sureness(result.unit) if measured is measures.calibration else {}),
                    }
                    for measured, summary in result.summaries.items()
                },
                "missing": {measured.name: why for measured, why in result.missing.items()},
                "attributes": moved(result),
            }
            for result in results
        ],
    }


def sureness(unit: Unit | None) -> dict[str, Any]:
    """Say how sure the scale worth one pair is, as JSON values; nothing where there is none."""
    if unit is None:
        return {}
    known = {} if unit.error is None else {"error": round(unit.error, 4)}
    return {**known, "people": unit.people}


def named(seen: Evidence) -> str:
    """Name the edited attribute, and say where it is a guess."""
    return f"{seen.attribute}{' (guessed: what the pairs move most)' if seen.guessed else ''}"


def moved(result: Result) -> dict[str, float]:
    """Return the mean change of every attribute where the slider is compared with others.

    Empty without a probe. The scale is that of `comparable`.
    """
    seen = result.seen
    if seen.probe is None:
        return {}
    identity = seen.probe.instrument.identity
    edits = [name for name in seen.probe.instrument.columns if name not in identity]
    names = (*edits, *identity)
    change = at(seen.scales, seen.attributes(*names).mean(0), comparable(result)[0])
    return dict(zip(names, change.tolist(), strict=True))


def comparable(result: Result) -> tuple[float, bool]:
    """Return the scale at which to look at a slider beside others, and whether it is matched.

    Where it never gets as far as the others: the scale of its largest effect before identity is
    lost, else its smallest positive scale.
    """
    seen = result.seen
    scale = _single(result.summaries, measures.matched_scale)
    if scale is not None:
        return scale, True
    up = [s for s in seen.scales if s > 0]
    kept = [s for s in up if result.verdict.lost_at is None or s < result.verdict.lost_at]
    known = result.summaries
    curve = known.get(measures.share, known[measures.image_change]).mean
    best = max(kept, key=lambda s: float(curve[seen.scales.index(s)]), default=up[0])
    return best, False


def numbers(values: Tensor) -> Any:
    """Turn a tensor into JSON; what is not finite becomes null."""
    if values.ndim:
        return [numbers(value) for value in values]
    number = float(values)
    return round(number, 6) if math.isfinite(number) else None


def _single(known: Mapping[Measure, Summary], measured: Measure) -> float | None:
    """Return the mean of a measure of one value, if there is one."""
    return numbers(known[measured].mean) if measured in known else None


def _usable(result: Result) -> str:
    """Write from where to where a slider can be used."""
    known, last = result.summaries, result.seen.scales[-1]
    start, end = (_single(known, m) for m in (measures.usable_from, measures.usable_to))
    if start is None or not result.usable:
        return ABSENT
    if end is None and result.seen.probe is None:
        return f"{scale_text(start)} to {OPEN}"
    return f"{scale_text(start)} to " + (f"{last:g}+" if end is None else scale_text(end))


def _written(measured: Measure, value: float) -> str:
    """Write one number of a measure."""
    if measured in measures.SCALES:
        return scale_text(value)
    return f"{value:.{measured.column.digits}f}"


def _cell(measured: Measure, summary: Summary | None, people: int) -> str:
    """Write a mean with its interval, or alone as a share; of a curve where it ends."""
    if summary is None:
        return ABSENT
    mean, low, high = (
        numbers(values.flatten()[-1]) for values in (summary.mean, summary.low, summary.high)
    )
    if mean is None:
        return ABSENT
    if measured.column.percent:
        return f"{100 * mean:.0f} %"
    if summary.few:
        return f"{_written(measured, mean)} ({too_few(people)})"
    ends = [ABSENT if end is None else _written(measured, end) for end in (low, high)]
    return f"{_written(measured, mean)} ({' … '.join(ends)})"

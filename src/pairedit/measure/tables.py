"""Own the tables of the report: all sliders, all measures of one, what was not measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pairedit.measure.evaluate import Result
from pairedit.measure.measures import MEASURES
from pairedit.measure.subject import FEWEST, too_few
from pairedit.measure.verdict import NOT_ASKED

OPTIONAL = {"clip", "dino", "lpips", "arcface"}  # readers that need weights of their own
WORDS = (
    "<p class=quiet><b>at most</b>: the largest effect before identity is lost; 100 % is what the "
    "pairs show. <b>one pair at</b>: the scale that changes as much as the pairs show. "
    "<b>off-target</b> is the mean change of all other attributes. <b>identity</b> says how far "
    "the person is lost; 1 is half-way to a stranger. Both are read where a slider reaches "
    "{match:.0f} % of a pair's worth, because a weak slider would always look clean. {sure}</p>"
)


def sliders_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], match: float, people: int
) -> str:
    """Write a row for each slider; on a narrow screen each becomes a block of its own.

    Args:
        heads: edit, slider, verdict, and others.
        rows: as many cells.
        match: share of a pair's worth at which sliders are compared.
        people: that were read of each.
    """
    several = len({row[0] for row in rows}) > 1
    order = [1, *([0] if several else []), *range(2, len(heads))]
    head = "".join(f"<th scope=col>{escape(heads[k])}</th>" for k in order)
    body = ""
    for row in rows:
        first, *others = order
        cells = "".join(
            f"<td data-head='{escape(heads[k])}'"
            + (f" class='{escape(row[k].split()[0])}'" if heads[k] == "verdict" else "")
            + f">{escape(row[k])}</td>"
            for k in others
        )
        body += f"<tr><th scope=row>{escape(row[first])}</th>{cells}</tr>"
    sure = f"There are no intervals of so few people ({people})."
    if people >= FEWEST:
        sure = f"In brackets are 95 % bootstrap intervals over {people} people."
    words = WORDS.format(match=100 * match, sure=sure)
    return f"<table class=sliders><tr>{head}</tr>{body}</table>{words}"


def measured_table(result: Result) -> str:
    """Write every measure of one slider."""
    scales, people = result.seen.scales, len(result.seen.distance)
    heads = "".join(f"<th scope=col>{scale:g}</th>" for scale in scales)
    curves = singles = ""
    for measured, summary in result.summaries.items():
        name = escape(measured.name)
        ends = zip(summary.low.reshape(-1), summary.high.reshape(-1), strict=True)
        cells = [
            f"<td title='{_span(float(low), float(high), ' to ', people)}'>"
            f"{number(float(mean))}</td>"
            for mean, (low, high) in zip(summary.mean.reshape(-1), ends, strict=True)
        ]
        if summary.mean.ndim:
            curves += f"<tr><th scope=row>{name}</th>{''.join(cells)}</tr>"
        else:
            span = _span(float(summary.low), float(summary.high), " … ", people)
            singles += f"<tr><th scope=row>{name}</th>{cells[0]}<td>{span}</td></tr>"
    return (
        f"<table class=scales><tr><th scope=col>scale</th>{heads}</tr>{curves}</table>"
        f"<table>{singles}</table>"
    )


def missing(results: Sequence[Result], *, asked: bool) -> str:
    """Write which measures could not run, and why.

    Args:
        results: of all sliders.
        asked: somebody chose the readers; else what lacks a reader is no news.
    """
    reasons: dict[str, set[str]] = {}
    for result in results:
        for measured, why in result.missing.items():
            left_out = why in {NOT_ASKED.format(need) for need in measured.needs}
            if not left_out and (asked or not measured.needs & OPTIONAL):
                reasons.setdefault(why, set()).add(measured.name)
    items = "".join(
        f"<li>{escape(', '.join(sorted(names)))}: {escape(why)}</li>"
        for why, names in reasons.items()
    )
    return f"<h2>Not measured</h2><ul class=quiet>{items}</ul>" if items else ""


def definitions(results: Sequence[Result]) -> str:
    """Write what each measure means that was taken."""
    taken = {measured for result in results for measured in result.summaries}
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(measured.meaning)}</dd>"
        for name, measured in MEASURES.items()
        if measured in taken
    )
    return f"<details><summary>What the measures mean</summary><dl>{items}</dl></details>"


def _span(low: float, high: float, between: str, people: int) -> str:
    """Write an interval."""
    return too_few(people) if math.isnan(low) else f"{number(low)}{between}{number(high)}"


def number(value: float) -> str:
    """Write a number in three digits; a dash for none."""
    return f"{value:.3f}" if abs(value) != float("inf") and value == value else "–"

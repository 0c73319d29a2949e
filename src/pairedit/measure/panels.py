"""Own the panels of the report: the charts of one edit, each below its title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from pairedit.measure import drawn, measures, page
from pairedit.measure.charts import Series, bars, chart, legend
from pairedit.measure.evaluate import Result
from pairedit.measure.families import leading
from pairedit.measure.findings import SEEN
from pairedit.measure.table import comparable, moved
from pairedit.runs.losses import Curve
from pairedit.settings import scale_text

BARS = 6  # attributes that are shown to move, besides the edited one
LEAST = 0.1  # of an attribute's range: the longest bar stands for so much at least


def panels(group: Sequence[Result], losses: Mapping[Path, Curve], grid: bytes | None) -> str:
    """Draw the charts of an edit.

    Args:
        group: its sliders.
        losses: of trainings, by their slider.
        grid: the picture of two swept numbers, where there are two.
    """
    few = leading(group)
    labels = [result.subject.label for result in few]
    gain, cost = drawn.gain_of(few[0]), drawn.cost_of(few[0])
    level = [(1.0, "one pair")] if gain is measures.share else []
    strength, price = drawn.effects(few, labels), drawn.prices(few, labels)
    figures = [
        _panel(
            "Effect by scale",
            chart(strength, x="scale", y=drawn.GAINS[gain], levels=level),
            drawn.gained(few[0]),
        ),
        _panel(
            "What else changes: lower is better",
            chart(price, x=drawn.GAINS[gain], y=drawn.COSTS[cost]),
            drawn.COSTS[cost],
        ),
    ]
    if curves := _losses(few, labels, losses):
        told = drawn.LOSSES if len(few) > 1 else drawn.LOSS
        figures.append(
            _panel("Loss of the training", chart(curves, x="step", y="loss", log=True), told)
        )
    if grid:
        figures.append(_panel("The sweep", f"<img alt='' src='{page.url_of(grid)}'>", ""))
    figures += [_moved(result, alone=len(group) == 1) for result in few if moved(result)]
    return legend(strength) + f"<div class=panels>{''.join(figures)}</div>"


def _panel(title: str, drawing: str, what: str = "") -> str:
    """Write a chart below its title, and what runs upwards."""
    if not drawing:
        return ""
    note = f"<figcaption>{escape(what)}</figcaption>" if what else ""
    return f"<figure><h3>{escape(title)}</h3>{note}{drawing}</figure>"


def _losses(
    few: Sequence[Result], labels: Sequence[str], known: Mapping[Path, Curve]
) -> list[Series]:
    """Draw the losses of trainings; of a single one every step as well."""
    curves = {r.subject.label: known[r.subject.path] for r in few if known.get(r.subject.path)}
    return drawn.losses(curves, labels)


def _moved(result: Result, *, alone: bool) -> str:
    """Show the edited attribute and those that move most besides."""
    change, seen = moved(result), result.seen
    own = {seen.attribute, *seen.tied}
    most = sorted((name for name in change if name not in own), key=lambda n: -abs(change[n]))
    tied = [name for name in seen.tied if abs(change.get(name, 0.0)) >= SEEN]
    names = [*(name for name in change if name == seen.attribute), *tied, *most[:BARS]]
    longest = max(LEAST, *(abs(change[name]) for name in names))
    scale, _ = comparable(result)
    title = "What moves" if alone else result.subject.label
    note = (
        f"at scale {scale_text(scale)}, in % of each attribute's range" + ", the most first" * alone
    )
    values = [(name, change[name], name in own) for name in names]
    return _panel(title, bars(values, most=longest), note)

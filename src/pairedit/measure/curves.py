"""Own the curves: effect by scale, and what it costs by strength, through matplotlib."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pairedit.files import replacing
from pairedit.measure import measures
from pairedit.measure.evaluate import Result
from pairedit.measure.evidence import Measure
from pairedit.measure.families import leading

logging.getLogger("matplotlib").setLevel(logging.WARNING)

# Okabe and Ito: told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKS = "osD^vPX"
PANEL = (4.6, 3.2)  # inches
DPI = 160
LONGEST = 48  # characters of a name in a legend, which the name of a job's folder may exceed
# What an edit does and what it costs, by the first of the measures that there is, and its caption.
GAINS = {measures.share: "pairs' worth of change", measures.image_change: "image change"}
COSTS = {measures.off_target: "off-target change", measures.identity_lost: "way to another person"}
# Axes, results of one edit, and the labels of all sliders: one has the same look in every panel.
Draw = Callable[[Axes, Sequence[Result], Sequence[str]], None]


def strength(axes: Axes, results: Sequence[Result], labels: Sequence[str]) -> None:
    """Draw the effect by scale, with 95 % intervals."""
    for result in results:
        gain = _gain(result)
        curve = result.summaries[gain]
        look = _look(result, labels)
        axes.fill_between(
            result.seen.scales, curve.low, curve.high, color=look["color"], alpha=0.15, lw=0
        )
        axes.plot(result.seen.scales, curve.mean, **look)
        axes.set_ylabel(GAINS[gain])
        if gain is measures.share:
            axes.axhline(1, color="#888888", lw=0.8, ls=":")
    axes.set_xlabel("scale")
    axes.set_title(f"{results[0].subject.dataset}: effect")


def price(axes: Axes, results: Sequence[Result], labels: Sequence[str]) -> None:
    """Draw what else changes by how much the edit does: lower is better at the same place."""
    for result in results:
        known, gain = result.summaries, _gain(result)
        cost = next(measured for measured in COSTS if measured in known)
        up = [k for k, scale in enumerate(result.seen.scales) if scale >= 0]
        axes.plot(known[gain].mean[up], known[cost].mean[up], **_look(result, labels))
        axes.set_ylabel(COSTS[cost])
        axes.set_xlabel(GAINS[gain])
    axes.set_title(f"{results[0].subject.dataset}: what it costs")


PANELS: tuple[Draw, ...] = (strength, price)


def write_curves(groups: Sequence[Sequence[Result]], path: Path) -> None:
    """Draw all panels of all edits into one PNG: a row for each edit.

    Args:
        groups: results by edit.
        path: the file to write.
    """
    figure = Figure(figsize=(2 * PANEL[0], len(groups) * PANEL[1]), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(groups), len(PANELS), squeeze=False)
    labels = labels_of([result for results in groups for result in leading(results)])
    for row, results in zip(grid, groups, strict=True):
        for axes, draw in zip(row, PANELS, strict=True):
            _panel(axes, draw, leading(results), labels)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def labels_of(results: Sequence[Result]) -> list[str]:
    """List the labels of sliders, each once."""
    return list(dict.fromkeys(result.subject.label for result in results))


def panel_png(draw: Draw, results: Sequence[Result], labels: Sequence[str]) -> bytes:
    """Draw one panel as PNG bytes; see `Draw`."""
    figure = Figure(figsize=PANEL, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    _panel(figure.subplots(), draw, results, labels)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _gain(result: Result) -> Measure:
    """Return the measure of what the edit does."""
    return next(measured for measured in GAINS if measured in result.summaries)


def _look(result: Result, labels: Sequence[str]) -> dict[str, Any]:
    """Give a slider its colour and mark."""
    index = labels.index(result.subject.label)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKS[index % len(MARKS)],
        "ms": 4,
        "label": _short(result.subject.label),
    }


def _short(label: str) -> str:
    """Leave out the middle of a long name: what tells jobs apart stands at either end."""
    half = LONGEST // 2
    return label if len(label) <= LONGEST else f"{label[:half]}…{label[-half:]}"


def _panel(axes: Axes, draw: Draw, results: Sequence[Result], labels: Sequence[str]) -> None:
    """Draw one panel with what all have in common."""
    axes.axhline(0, color="#888888", lw=0.8)
    axes.grid(color="#e5e5e5", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes, results, labels)
    axes.legend(fontsize=8, frameon=False)

"""Own the curves: effect by scale, and what it costs by strength, through matplotlib."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

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


def draw_curves(groups: Mapping[str, Sequence[Result]]) -> dict[str, list[Image.Image]]:
    """Draw the panels of every edit.

    Args:
        groups: results by edit.
    """
    shown = {edit: leading(group) for edit, group in groups.items()}
    every = [result.subject.label for group in shown.values() for result in group]
    labels = list(dict.fromkeys(every))
    return {
        edit: [_panel(draw, results, labels) for draw in PANELS] for edit, results in shown.items()
    }


def stacked(curves: Mapping[str, Sequence[Image.Image]]) -> Image.Image:
    """Put the panels of all edits onto one picture: a row for each edit."""
    width, height = next(panel.size for panels in curves.values() for panel in panels)
    sheet = Image.new("RGB", (len(PANELS) * width, len(curves) * height))
    for row, panels in enumerate(curves.values()):
        for column, panel in enumerate(panels):
            sheet.paste(panel, (column * width, row * height))
    return sheet


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


def _panel(draw: Draw, results: Sequence[Result], labels: Sequence[str]) -> Image.Image:
    """Draw one panel, with what all have in common; see `Draw`."""
    figure = Figure(figsize=PANEL, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(0, color="#888888", lw=0.8)
    axes.grid(color="#e5e5e5", lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes, results, labels)
    axes.legend(fontsize=8, frameon=False)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

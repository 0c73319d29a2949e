"""Own loss.png: the loss of every step of a training, and its running mean, on a log axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from pairedit.pictures.lettering import text_width, write_text
from pairedit.pictures.sheet import INK, PAPER, QUIET
from pairedit.runs.losses import means

WIDTH, HEIGHT = 960, 540  # px
FRAME = (84, 64, WIDTH - 28, HEIGHT - 64)  # left, top, right and bottom of the axes
TYPE = 16  # px
FAINT, GRID, LINE = "#c7d2dc", "#ececef", "#0072b2"
SHARPER = 2  # lines are drawn so many times larger, then reduced
LINES = 5  # on each axis, about


def draw_losses(steps: Sequence[int], losses: Sequence[float], *, title: str) -> Image.Image:
    """Draw a curve.

    Args:
        steps: ascending, as many as losses; none gives empty axes.
        losses: above 0; one that is not is left out.
        title: above the axes.
    """
    known = [(s, v) for s, v in zip(steps, losses, strict=True) if 0 < v < math.inf]
    first, last = (known[0][0], known[-1][0]) if known else (0, 1)
    values = [value for _, value in known] or [1.0]
    low, high = _decimal(min(values), math.floor), _decimal(max(values), math.ceil)
    left, top, right, bottom = FRAME

    def place(step: float, value: float) -> tuple[float, float]:
        across = (step - first) / max(last - first, 1)
        up = math.log(value / low) / math.log(high / low)
        return left + across * (right - left), bottom - up * (bottom - top)

    sheet = Image.new("RGB", (SHARPER * WIDTH, SHARPER * HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)

    def stroke(points: Sequence[tuple[float, float]], colour: str, width: int) -> None:
        large = [(SHARPER * x, SHARPER * y) for x, y in points]
        for pair in pairwise(large):
            draw.line(pair, colour, width)

    marks, ends = _levels(low, high), _rounds(first, last)
    for value in marks:
        stroke([place(first, value), place(last, value)], GRID, SHARPER)
    stroke([place(*point) for point in known], FAINT, SHARPER)
    stroke([place(*point) for point in means(known)], LINE, 2 * SHARPER + 1)
    sheet = sheet.reduce(SHARPER)
    for value in marks:
        _, y = place(first, value)
        label = f"{value:g}"
        write_text(sheet, label, TYPE, QUIET, left - 10 - text_width(TYPE, label), y - TYPE // 2)
    for step in ends:
        x, _ = place(step, low)
        label = f"{step}"
        write_text(sheet, label, TYPE, QUIET, x - text_width(TYPE, label) // 2, bottom + 10)
    write_text(sheet, title, TYPE + 6, INK, left, 18)
    write_text(sheet, "step", TYPE, QUIET, (left + right) // 2 - 16, bottom + 32)
    return sheet


def _decimal(value: float, rounded: object) -> float:
    """Round a loss down or up to 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    fits = [power * factor for factor in (1, 2, 5, 10)]
    if rounded is math.floor:
        return max(fit for fit in fits if fit <= value * (1 + 1e-9))
    return min(fit for fit in [*fits, 20 * power] if fit > value)


def _levels(low: float, high: float) -> list[float]:
    """List the round losses between two, not too many."""
    powers = range(math.floor(math.log10(low) - 1e-9), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [10.0**power * factor for power in powers for factor in factors]
        found = [level for level in found if low * (1 - 1e-9) <= level <= high * (1 + 1e-9)]
        if len(found) <= 2 * LINES:
            break
    return found


def _rounds(first: int, last: int) -> list[int]:
    """List the first and the last step and round ones between them."""
    apart = max(1, (last - first) // LINES)
    power = 10 ** math.floor(math.log10(apart))
    apart = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= apart)
    between = range((first // apart + 1) * apart, last, apart)
    near = 0.5 * apart
    return [first, *(s for s in between if s - first > near and last - s > near), last]

"""Own the picture of a sweep over two numbers: what every combination costs, as a coloured grid."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pairedit.measure import measures
from pairedit.measure.evaluate import Result
from pairedit.measure.families import families, spread, value_of

DPI = 160
COSTS = {measures.matched_off_target: "off-target", measures.matched_identity: "identity"}


def two_swept(results: Sequence[Result]) -> tuple[str, str] | None:
    """Name the two numbers that a sweep of one edit went over; None where it was not two."""
    keys = list(dict.fromkeys(key for result in results for key in result.subject.swept))
    varied = [key for key in keys if len({result.subject.swept.get(key) for result in results}) > 1]
    numeric = [key for key in varied if all(_number(r.subject.swept.get(key)) for r in results)]
    return (numeric[0], numeric[1]) if len(varied) == len(numeric) == 2 else None


def grid_png(results: Sequence[Result]) -> bytes | None:
    """Draw what each combination of two swept numbers costs at matched strength, as a PNG.

    Args:
        results: of one edit.

    Returns:
        None where the sweep did not go over two numbers.
    """
    keys = two_swept(results)
    measured = next((m for m in COSTS if any(value_of(r, m) is not None for r in results)), None)
    if keys is None or measured is None:
        return None
    cells: dict[tuple[float, float], float] = {}
    for family in families(results):
        place = tuple(float(family.members[0].subject.swept[key]) for key in keys)
        values = [v for r in family.members if (v := value_of(r, measured)) is not None]
        if values:
            cells[place] = spread(values)[0]
    columns, rows = (sorted({place[side] for place in cells}) for side in (0, 1))
    table = [[cells.get((x, y), float("nan")) for x in columns] for y in rows]
    figure = Figure(
        figsize=(2 + 0.7 * len(columns), 1.4 + 0.5 * len(rows)), dpi=DPI, layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(table, origin="lower", cmap="cividis", aspect="auto")
    top = max(cells.values())
    for y, line in enumerate(table):
        for x, value in enumerate(line):
            if value == value:
                shade = "black" if value > top / 2 else "white"
                axes.text(x, y, f"{value:.3f}", ha="center", va="center", color=shade, fontsize=8)
    axes.set_xticks(range(len(columns)), [f"{x:g}" for x in columns])
    axes.set_yticks(range(len(rows)), [f"{y:g}" for y in rows])
    axes.set_xlabel(keys[0])
    axes.set_ylabel(keys[1])
    axes.set_title(f"{results[0].subject.dataset}: {COSTS[measured]} at matched strength")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _number(text: str | None) -> bool:
    """Say whether a value is a number, as most that are swept are."""
    try:
        float(text or "")
    except ValueError:
        return False
    return True

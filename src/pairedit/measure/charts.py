"""Own the charts of the report: SVG that follows the page's colours, in light and dark, any width.

Nothing here knows what is measured. A chart is a text; styles are those of `report.css`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Units of the drawing, which the page scales to its place: on a phone to 350 px, where 14 units of
# text are 12 px.
WIDTH, HEIGHT = 400, 280
LEFT, TOP, RIGHT, BOTTOM = 52, 14, 14, 50  # margins of the axes
LOOKS = 7  # colours of the page; after the last one the first one comes again
FAINT = 7  # the look of a line that stands behind the others
TICKS = 5  # on an axis, about


@dataclass(frozen=True, kw_only=True)
class Series:
    """Hold one line; what is not finite is left out."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    low: Sequence[float] = ()  # lower ends of its interval; upper ends next
    high: Sequence[float] = ()
    look: int = 0  # which of the page's colours, or `FAINT`
    dots: bool = True

    @property
    def points(self) -> list[tuple[float, float]]:
        """List the points that can be drawn."""
        return [p for p in zip(self.xs, self.ys, strict=True) if all(map(math.isfinite, p))]


def chart(
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    levels: Sequence[tuple[float, str]] = (),
    log: bool = False,
) -> str:
    """Draw lines over two axes.

    Args:
        series: at least one point among them, or the chart is empty.
        x: says what runs to the right.
        y: says what runs upwards.
        levels: values of y that have a dotted line and a name.
        log: y has a logarithmic axis; values are above 0.
    """
    points = [point for one in series for point in one.points]
    if not points:
        return ""
    across = _Axis.of([px for px, _ in points], LEFT, WIDTH - RIGHT, log=False)
    ends = [end for one in series for end in (*one.low, *one.high) if math.isfinite(end)]
    ups = [py for _, py in points] + ends + [value for value, _ in levels]
    up = _Axis.of(ups if log else [0.0, *ups], HEIGHT - BOTTOM, TOP, log=log)
    parts = [
        *(
            f"<line class=grid x1={LEFT} x2={WIDTH - RIGHT} y1={_n(up(v))} y2={_n(up(v))} />"
            f"<text class=tick x={LEFT - 8} y={_n(up(v) + 5)} text-anchor=end>{v:g}</text>"
            for v in up.ticks
        ),
        *(
            f"<text class=tick x={_n(across(v))} y={HEIGHT - BOTTOM + 20} "
            f"text-anchor=middle>{v:g}</text>"
            for v in across.ticks
        ),
        *(_level(value, name, up) for value, name in levels),
        *(_line(one, across, up) for one in series),
        f"<text class=axis x={(LEFT + WIDTH - RIGHT) // 2} y={HEIGHT - 6} "
        f"text-anchor=middle>{escape(x)}</text>",
    ]
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{escape(f'{y} by {x}')}'>"
        + "".join(parts)
        + "</svg>"
    )


def legend(series: Sequence[Series]) -> str:
    """Name the lines of a chart, where there are several."""
    if len(series) < 2:
        return ""
    items = "".join(f"<li><i class='{_look(one)}'></i>{escape(one.name)}</li>" for one in series)
    return f"<ul class=legend>{items}</ul>"


def bars(values: Sequence[tuple[str, float, bool]], *, most: float) -> str:
    """Draw shares as bars to the left and right of a middle line.

    Args:
        values: name, share, and whether it is the one that is meant to move.
        most: the largest share that there is room for.
    """
    rows = ""
    for name, value, own in values:
        length = 50 * min(abs(value) / most, 1)
        left = 50 - length if value < 0 else 50
        rows += (
            f"<tr{' class=own' * own}><th scope=row>{escape(name)}</th><td class=bar>"
            f"<i style='left:{left:.1f}%;width:{length:.1f}%'></i></td>"
            f"<td class=number>{100 * value:+.0f} %</td></tr>"
        )
    return f"<table class=bars>{rows}</table>"


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """Place values between two ends of a drawing."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    log: bool

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, *, log: bool) -> _Axis:
        """Choose the ends so that all values lie between round ones."""
        least, most = min(values), max(values)
        if log:
            powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
            marks = [10.0**p * f for p in powers for f in (1, 2, 5)]
            marks = [m for m in marks if least / 2.5 < m < most * 2.5]
            thin = max(1, math.ceil(len(marks) / (TICKS + 2)))
            return cls(
                low=min(least, marks[0]),
                high=max(most, marks[-1]),
                start=start,
                end=end,
                ticks=marks[::thin],
                log=True,
            )
        step = _round((most - least) / TICKS or 1.0)
        low, high = math.floor(least / step + 1e-9) * step, math.ceil(most / step - 1e-9) * step
        high = max(high, low + step)
        count = round((high - low) / step)
        ticks = [round(low + k * step, 10) for k in range(count + 1)]
        return cls(low=low, high=high, start=start, end=end, ticks=ticks, log=False)

    def __call__(self, value: float) -> float:
        """Return where a value lies."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _round(step: float) -> float:
    """Round a step up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * f for f in (1, 2, 5, 10) if power * f >= step * (1 - 1e-9))


def _line(one: Series, across: _Axis, up: _Axis) -> str:
    """Draw a line with its interval and its dots."""
    look = _look(one)
    ends = [
        (across(px), up(low), up(high))
        for px, low, high in zip(one.xs, one.low, one.high, strict=False)
        if math.isfinite(low) and math.isfinite(high)
    ]
    band = ""
    if ends:
        outline = [(px, high) for px, _, high in ends] + [(px, low) for px, low, _ in ends[::-1]]
        band = f"<polygon class='band {look}' points='{_path(outline)}' />"
    places = [(across(px), up(py)) for px, py in one.points]
    dots = "".join(
        f"<circle class={look} cx={_n(px)} cy={_n(py)} r=3.5><title>{escape(one.name)}: "
        f"{at[0]:g}, {at[1]:.3f}</title></circle>"
        for (px, py), at in zip(places, one.points, strict=True)
        if one.dots
    )
    return f"{band}<polyline class='line {look}' points='{_path(places)}' />{dots}"


def _look(one: Series) -> str:
    return "faint" if one.look == FAINT else f"look{one.look % LOOKS}"


def _level(value: float, name: str, up: _Axis) -> str:
    """Draw a dotted line at one value, its name above its right end."""
    y = _n(up(value))
    return (
        f"<line class=level x1={LEFT} x2={WIDTH - RIGHT} y1={y} y2={y} />"
        f"<text class=tick x={WIDTH - RIGHT} y={_n(up(value) - 5)} text-anchor=end>"
        f"{escape(name)}</text>"
    )


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in places)


def _n(value: float) -> str:
    return f"{value:.1f}"

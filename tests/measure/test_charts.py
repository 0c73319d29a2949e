"""Charts are drawn from whatever there is, inside of their axes."""

import math
import re

import pytest

from pairedit.measure.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series, bars, chart


def line(xs, ys, **more):
    return Series(name="a <b>", xs=xs, ys=ys, **more)


def points(drawing):
    """Return the places of the lines of a chart."""
    found = re.findall(r"<polyline class='line [^']+' points='([^']*)'", drawing)
    return [[tuple(map(float, p.split(","))) for p in one.split()] for one in found]


@pytest.mark.parametrize(
    ("xs", "ys", "log"),
    [
        ([0, 1], [0, 1], False),
        ([0, 0.2, 1], [-3, 5, 2], False),
        ([0, 1, 2], [0.02, 0.02, 0.02], False),
        ([0], [0], False),
        ([1, 2, 3], [0.5, math.nan, 2000.0], False),
        ([1, 2, 3], [1e-5, 0.3, 7.0], True),
        ([1, 2], [0.3, 0.3], True),
    ],
)
def test_lines_lie_inside_of_their_axes(xs, ys, log):
    drawing = chart([line(xs, ys)], x="scale", y="worth", log=log)
    (places,) = points(drawing)
    assert len(places) == sum(map(math.isfinite, ys))
    for x, y in places:
        assert LEFT - 1 <= x <= WIDTH - RIGHT + 1
        assert TOP - 1 <= y <= HEIGHT - BOTTOM + 1
    assert "nan" not in drawing
    assert 2 <= drawing.count("class=grid") <= 9


def test_more_is_higher_and_to_the_right():
    (places,) = points(chart([line([0, 1, 2], [0, 1, 3])], x="x", y="y"))
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    assert (y1 - y2) == pytest.approx(2 * (y0 - y1), abs=0.2)


def test_intervals_levels_and_names():
    one = line([0, 1], [0, 1], low=[0, 0.5], high=[0, math.inf])
    drawing = chart([one], x="a", y="b", levels=[(2, "one <pair>")])
    assert "a &lt;b&gt;" in drawing
    assert "one &lt;pair&gt;" in drawing
    assert "inf" not in drawing
    assert chart([], x="a", y="b") == ""


def test_bars_run_to_both_sides_of_the_middle():
    drawing = bars([("age", 0.5, True), ("hue", -0.25, False)], most=0.5)
    assert "left:50.0%;width:50.0%" in drawing
    assert "left:25.0%;width:25.0%" in drawing
    assert "+50 %" in drawing
    assert "-25 %" in drawing

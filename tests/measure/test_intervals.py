"""Intervals over lanes, and where a curve reaches a level."""

import math

import pytest
import torch

from pairedit.measure.intervals import crossing, summarise
from pairedit.measure.measures import MEASURES
from pairedit.mini.faces import INDEX
from seen import NAN, probed


@pytest.mark.parametrize(
    ("curve", "level", "expected"),
    [
        ([9.0, 0, 1, 2], 1.5, 0.75),  # negative scales are left out
        ([0.0, 0, 1, 0.5], 0.5, 0.25),  # the first time
        ([0.0, 0, 1, 2], 2.5, NAN),
        ([0.0, 0, -1, -2], 0.5, NAN),
    ],
)
def test_where_a_curve_reaches_a_level(curve, level, expected):
    found = float(crossing((-0.5, 0.0, 0.5, 1.0), torch.tensor(curve), level))
    assert found == pytest.approx(expected, nan_ok=True)


def test_the_interval_holds_the_mean_and_shrinks_with_more_lanes():
    def spread(lanes: int) -> tuple[float, float, float]:
        seen = probed({"smile": [0.0, 0.1, 0.2]}, lanes=lanes)
        noise = torch.randn(lanes, generator=torch.Generator().manual_seed(1)) * 0.1
        seen.readings["probe"].lanes[:, 2, INDEX["smile"]] += noise
        found = summarise(MEASURES["target"], seen)
        return float(found.low[2]), float(found.mean[2]), float(found.high[2])

    low, middle, high = spread(200)
    assert low < middle < high
    wide = spread(20)
    assert high - low < wide[2] - wide[0]


def test_an_interval_has_no_end_where_lanes_do_not_get_there():
    seen = probed({"smile": [0.0, 0.1, 0.2]}, lanes=6)
    seen.readings["probe"].lanes[:3, 2, INDEX["smile"]] += 0.7
    found = summarise(MEASURES["calibration"], seen)
    assert 0.5 < float(found.low) < float(found.mean) < 1
    assert float(found.high) == math.inf

"""Intervals over lanes, and what is read off curves: known answers, identities of any curve."""

import math
from dataclasses import replace

import pytest
import torch

from pairedit.measure.intervals import RESAMPLES, at, crossing, mean_cost, straightness, summarise
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


@pytest.mark.parametrize(
    ("scales", "curve", "expected"),
    [
        ((0.0, 0.5, 1.0), [0.0, 1, 2], 1),
        ((0.0, 0.5, 1.0), [0.0, 0, 1], 0.8),  # cov = 1/12, variances 1/12 and 5/48
        ((0.0, 0.1, 0.2, 0.5, 0.75, 1.0), [0.0, 0, 0, 0, 0.5, 1], 0.8),  # more points of it
        ((-1.0, 0.0, 0.5, 1.0), [9.0, 0, 0, 1], 0.8),  # negative scales are left out
        ((0.0, 0.5, 1.0), [0.0, 1, 0], 0),
        ((0.0, 0.5, 1.0), [0.0, -1, -2], 1),
        ((0.0, 1.0), [0.0, 1], NAN),  # straight whatever happens between
        ((0.0, 0.5, 1.0), [1.0, 1, 1], NAN),
    ],
)
def test_how_straight_a_curve_is(scales, curve, expected):
    found = float(straightness(scales, torch.tensor(curve), scales[-1]))
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)
    again = float(straightness(scales, 3 * torch.tensor(curve) + 5, scales[-1]))
    assert again == pytest.approx(expected, abs=1e-6, nan_ok=True), "units do not matter"


def test_straightness_ends_where_asked():
    scales = (0.0, 0.25, 0.5, 0.625, 1.0)
    curve = torch.tensor([0.0, 0.5, 1, 1.25, -7])
    assert float(straightness(scales, curve, 0.625)) == pytest.approx(1)
    assert float(straightness(scales, curve, 0.55)) == pytest.approx(1), "between two scales"
    assert float(straightness(scales, curve, 1.0)) < 0.6
    assert math.isnan(float(straightness(scales, curve, 0.3)))
    assert math.isnan(float(straightness(scales, curve, NAN)))


@pytest.mark.parametrize(
    ("gains", "costs", "end", "expected"),
    [
        ([0.0, 1], [0.0, 2], 1.0, 1),  # a triangle
        ([0.0, 1], [0.0, 2], 0.5, 0.5),
        ([0.0, 1, 2], [0.0, 0, 4], 2.0, 1),
        ([0.0, 1, 2], [0.0, 0, 4], 1.5, 1 / 3),  # 0 to 2 over a third of the way
        ([0.0, 1, 2], [0.0, 3, 3], 2.0, 2.25),
        # Back to 0.5 and up again: from 1 on it counts from the cost there, 9 - 6 / 3 = 7.
        ([0.0, 1, 0.5, 2], [0.0, 1, 9, 3], 2.0, (0.5 + 5) / 2),
        ([0.0, -1, 1], [0.0, 4, 2], 1.0, 2.5),  # at no gain it costs 3 by now
        ([0.0, 1, 2], [0.0, 0, 4], 2.1, NAN),
    ],
)
def test_the_mean_cost_of_a_gain(gains, costs, end, expected):
    found = float(mean_cost(torch.tensor(gains), torch.tensor(costs), end))
    assert found == pytest.approx(expected, nan_ok=True)


def test_the_area_grows_by_the_cost_at_its_end():
    gains, costs = torch.tensor([0.0, 0.3, 0.7, 1.2]), torch.tensor([0.0, 0.02, 0.05, 0.3])
    width = 1e-3
    low, high = (float(mean_cost(gains, costs, end)) * end for end in (0.9, 0.9 + width))
    middle = at(tuple(gains.tolist()), costs, 0.9 + width / 2)
    assert (high - low) / width == pytest.approx(float(middle), rel=1e-3)


def test_draws_that_are_the_same_are_measured_once():
    seen = probed({"smile": [0.0, 0.1, 0.9]}, lanes=4)
    seen.readings["probe"].lanes[0, 2, INDEX["smile"]] += 0.7
    calls = []

    def counted(part):
        calls.append(part)
        return MEASURES["calibration"](part)

    found = summarise(replace(MEASURES["calibration"], function=counted), seen)
    plain = summarise(MEASURES["calibration"], seen)
    assert (found.low, found.mean, found.high) == (plain.low, plain.mean, plain.high)
    assert len(calls) < 1 + 0.9 * RESAMPLES / 5, "the slider itself, and no draw twice"
    alone = summarise(MEASURES["calibration"], seen.pick(torch.arange(3)))
    assert alone.few
    assert not plain.few
    assert math.isnan(float(alone.high)), "three people tell nothing of others"

"""The effect of a slider, counted in pairs."""

import math

import pytest
import torch

from pairedit.measure.effect import effect, worth
from pairedit.measure.verdict import judge
from seen import SCALES, mean, probed, rendered


@pytest.mark.parametrize("edit", ["smile", "age"])
def test_a_perfect_slider_is_read_as_one(edit):
    assert rendered(edit, edit, attribute=None).attribute == edit, "found from the pairs alone"
    seen = rendered(edit, edit)
    torch.testing.assert_close(mean("target", seen), torch.tensor(SCALES), atol=0.12, rtol=0)
    # A person at 0.2 has exactly one pair's worth left.
    assert worth(seen) == pytest.approx(0.5, abs=0.1)
    share = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(mean("share of a pair", seen), share, atol=0.15, rtol=0)
    assert float(mean("off-target", seen)[2]) < 0.04
    assert float(mean("monotonicity", seen)) > 0.97
    assert float(mean("violated steps", seen)) < 0.05
    assert float(mean("matched scale", seen)) == pytest.approx(0.25, abs=0.08)
    assert float(mean("starts at", seen)) == pytest.approx(0.05, abs=0.04)
    assert math.isnan(float(mean("lost at", seen)))
    assert judge(seen).name == "works"


def test_a_pairs_worth_is_no_more_than_what_is_left():
    seen = probed({"smile": [0.3, 0.4, 0.5]})
    assert worth(seen) == pytest.approx(0.2), "the people start at 0.5, the pairs end at 0.7"
    assert effect(seen)[0].tolist() == pytest.approx([0, 0.5, 1], abs=1e-5)

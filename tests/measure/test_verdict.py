"""Verdicts say what a slider does."""

import re
from dataclasses import replace

import pytest

from pairedit.measure.effect import effect
from pairedit.measure.intervals import summarise
from pairedit.measure.measures import MEASURES
from pairedit.measure.verdict import ADVICE, judge
from seen import path, probed


def test_without_pairs_the_attribute_decides_else_nobody_does():
    def alone(column, **parts):
        return replace(probed({"smile": column}), pair_distance=None, **parts)

    up, down, flat = ([0.0, x, 2 * x] for x in (0.12, -0.12, 0.01))
    assert effect(alone(up))[0].tolist() == pytest.approx(up, abs=1e-6)
    assert [judge(alone(c)).name for c in (up, down, flat)] == ["works", "reversed", "off target"]
    assert judge(alone(up, attribute=None)).name == "changes"


def test_a_slider_that_changes_nothing_is_a_no_op():
    seen = path([[0.0], [0], [0]], (0.0, 0.5, 1.0), pair_distance=0.1)
    assert judge(seen).name == "no-op"
    for measured in MEASURES.values():
        if measured.needs <= seen.has:
            summarise(measured, seen)
    assert judge(path([[0.0], [0.001]], (0.0, 1.0))).name == "no-op", "also without pairs"


def test_every_verdict_but_the_good_one_has_advice():
    assert {name for name, advice in ADVICE.items() if not advice} == {"works"}


def test_advice_to_let_a_slider_act_longer_holds_for_levels_and_steps():
    assert not [name for name, advice in ADVICE.items() if "lower skip" in advice]
    for name in ("no-op", "off target", "weak"):
        assert "a higher noise level, such as skip=0.85" in ADVICE[name]


def test_where_little_shows_the_first_advice_is_more_steps():
    first = {name for name, advice in ADVICE.items() if re.search(r": train longer \(", advice)}
    assert first == {"no-op", "off target", "weak"}
    half = probed({"smile": [0.0, 0.15, 0.3]})
    assert (judge(half).name, judge(half).short) == ("works", True)
    assert "worth one pair: train longer (pairedit-train resume=RUN" in judge(half).advise()
    assert judge(probed({"smile": [0.0, 0.3, 0.6]})).advise() == ""


def test_where_too_little_happens_steps_come_first_then_larger_scales_then_skip():
    flat = path([[0.0], [0], [0]], (0.0, 0.4, 0.8), pair_distance=0.1)
    faint, half = (probed({"smile": [0.0, 0.1 * n, 0.2 * n]}) for n in (0.5, 1.5))
    found = [judge(seen) for seen in (flat, faint, half)]
    assert [(v.name, v.short) for v in found] == [
        ("no-op", False),
        ("weak", False),
        ("works", True),
    ]
    for verdict in found:
        steps = ("train longer", "pairedit-gen lora=FILE 'scales=[0,1,1.5,2,3]'", "skip=0.85")
        places = [verdict.advise().find(step) for step in steps]
        assert -1 not in places
        assert places == sorted(places)


def test_scales_that_were_tried_are_not_advised():
    flat = path([[0.0], [0], [0]], (0.0, 1.5, 3.0), pair_distance=0.1)
    assert "scales" not in judge(flat).advise()
    assert "steps=), let the slider act longer" in judge(flat).advise()

"""The exact test over pairs of trainings, and what is said of it."""

from dataclasses import replace
from itertools import product

import pytest

from drawing import pairs_in, slider
from pairedit.measure.families import (
    _in_words,
    comparisons,
    signed_rank,
    silence,
    spread,
    uses,
)
from pairedit.measure.table import heads, table, to_json


def by_all_signs(differences):
    """Count the assignments of signs whose rank sum is as far out, one by one."""
    sizes = sorted(map(abs, differences))
    ranks = [(2 * sizes.index(abs(d)) + sizes.count(abs(d)) + 1) / 2 for d in differences]
    seen = sum(r for r, d in zip(ranks, differences, strict=True) if d > 0)
    low = min(seen, sum(ranks) - seen)
    sums = [sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in
            product((0, 1), repeat=len(ranks))]  # fmt: skip
    return min(1.0, 2 * sum(total <= low for total in sums) / len(sums))


@pytest.mark.parametrize(
    "differences",
    [[1.0, 2.0, 3.0], [1.0, -2.0, 3.0, 4.0, -0.5], [1.0, 1.0, -1.0, 2.0], [-0.1, 0.2, 0.2, 0.3]],
)
def test_every_choice_of_signs_is_counted(differences):
    assert signed_rank(differences) == pytest.approx(by_all_signs(differences))


def test_known_values():
    assert signed_rank([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert signed_rank([0, 0]) == 1.0
    assert signed_rank(list(range(1, 28))) == pytest.approx(2 / 2**27)
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))


def test_few_pairs_are_said_to_be_too_few():
    text = _in_words("full", "fm", [(0.1, 0.2), (0.1, 0.3), (0.2, 0.4)], "off-target")
    assert "full is lower than fm in 3 of 3 pairs" in text
    assert "too few to tell, p cannot be below 0.25" in text


def test_many_pairs_on_one_side_differ():
    text = _in_words("full", "fm", [(0.2 + i / 100, 0.1) for i in range(8)], "off-target")
    assert "fm is lower than full in 8 of 8 pairs" in text
    assert text.endswith("they differ.")


def compared(pairs, *names, seeds=(0,), **more):
    """Measure trainings of several settings, a slider for each seed."""
    found = []
    for number, name in enumerate(names, 1):
        for seed in seeds:
            result = slider(pairs, name, moves=(0.4, 0.1 * number), **more)
            subject = replace(result.subject, family=name, seed=seed)
            found.append(replace(result, subject=subject))
    return found


def test_why_no_sentence_compares_several_settings_is_said(tmp_path):
    pairs = pairs_in(tmp_path)
    assert silence(compared(pairs, "full"), []) is None, "there is nothing to compare"
    few = compared(pairs, "full", "graded")
    assert not list(comparisons(few))
    assert silence(few, []) == (
        "No sentence says whether they differ: that takes two trainings of each, or more, with the "
        "same edits and seeds; train each from several seeds (seed=0,1,2)."
    )
    assert to_json(few, {})["no_differences"] == silence(few, [])
    enough = compared(pairs, "full", "graded", seeds=(0, 1))
    assert silence(enough, list(comparisons(enough))) is None
    assert silence(enough, []), "it does not compare them again"
    assert silence(compared(pairs, *"abcdefg"), []).endswith(
        "at most 6 settings are compared, and there are 7."
    )
    short = [slider(pairs, "full"), slider(pairs, "graded", moves=(0.05, 0.0))]
    assert silence(short, []).endswith("get to the strength at which they are compared.")


def test_in_which_use_sliders_were_measured_is_said(tmp_path):
    pairs = pairs_in(tmp_path)
    assert uses(compared(pairs, "full")) is None
    alike = compared(pairs, "full", "graded", seeds=(0, 1))
    assert uses(alike) == "All were measured with skip=10 local=false schedule=flat."
    apart = [*alike, *compared(pairs, "fm", local=True)]
    assert uses(apart).startswith(
        "They were measured in different uses: full, graded with skip=10 local=false "
        "schedule=flat; fm with skip=10 local=true schedule=flat. A difference may come from that,"
    )


def test_one_value_has_no_spread(tmp_path):
    pairs = pairs_in(tmp_path)
    (strong, _), weak = compared(pairs, "full", seeds=(0, 1)), slider(pairs, moves=(0.05, 0.0))
    weak = replace(weak, subject=replace(weak.subject, family="full", seed=1))
    row = dict(zip(heads(), table([strong, weak])[0], strict=True))
    assert row["one pair at"] == "0.5 (1 of 2)"
    assert "±" in row["at most"]

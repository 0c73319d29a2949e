"""The exact test over pairs of trainings, and what is said of it."""

from itertools import product

import pytest

from pairedit.measure.families import _in_words, signed_rank, spread


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

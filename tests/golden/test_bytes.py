"""Every command leaves behind, byte for byte, what it left when it was recorded."""

import json

import pytest
from digests import digests, fingerprint
from yardstick import CASES, EXPECTED, FINGERPRINT, SAME, Workshop

RECORDED = json.loads(EXPECTED.read_text())


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Workshop(tmp_path_factory.mktemp("golden"))
    found, known = fingerprint(shop.model), RECORDED[FINGERPRINT]
    differs = [name for name in known if found.get(name) != known[name]]
    if differs:
        pytest.skip(
            f"this machine or its libraries calculate otherwise ({', '.join(differs)}): at a "
            "commit known to be good run `python tests/golden/record.py`"
        )
    return shop


@pytest.mark.parametrize("case", CASES)
def test_the_results_are_those_recorded(shop, case):
    assert digests(shop.run(case)) == RECORDED[case]


@pytest.mark.parametrize("case", SAME)
def test_a_resumed_run_was_recorded_as_the_unbroken_one(case):
    assert RECORDED[case] == RECORDED[SAME[case]]


def test_nothing_is_recorded_that_does_not_run():
    assert set(RECORDED) == {FINGERPRINT, *CASES}

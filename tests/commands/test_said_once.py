"""What is typed wrong is said once, with a proposal that can be pasted."""

from __future__ import annotations

import pytest

from pairedit.plan.synonyms import meant
from pairedit.plan.typed import place


def test_a_folder_that_cannot_be_read_is_one_problem():
    assert place(["hydra.run.dir=é/x"]) == ["hydra.run.dir=é/x"]
    assert place(["hydra.run.dir=a/x"]) == ["hydra.run.dir=a/x", "hydra.sweep.dir=a/x"]


@pytest.mark.parametrize("typed", ["0,0001", "0.0001"])
def test_a_comma_of_a_number_becomes_a_point(typed):
    assert meant("lr", typed, "train") == "learning_rate=0.0001"

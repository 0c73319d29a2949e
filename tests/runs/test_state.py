"""What is not finite is no checkpoint."""

import math
from dataclasses import replace

import torch

from pairedit.runs.state import State


def test_one_bad_weight_is_enough():
    sound = {"content": [torch.zeros(2)], "semantic": [torch.zeros(2), torch.ones(1)]}
    state = State(weights=sound, optimizer=None, generator=None)
    assert state.finite()
    bad = {**sound, "semantic": [torch.zeros(2), torch.tensor([math.nan])]}
    assert not replace(state, weights=bad).finite()

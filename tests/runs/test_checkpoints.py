"""What is not finite is no checkpoint."""

import math

import torch

from pairedit.runs.checkpoints import finite


def test_one_bad_weight_is_enough():
    sound = {"content": [torch.zeros(2)], "semantic": [torch.zeros(2), torch.ones(1)]}
    assert finite(sound)
    assert not finite({**sound, "semantic": [torch.zeros(2), torch.tensor([math.nan])]})

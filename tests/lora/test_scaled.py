"""LoRAs side by side keep each its own alpha / rank."""

import torch

from pairedit.lora.rowwise import _scaled


def test_every_rank_is_scaled_by_its_own_lora():
    scales = torch.tensor([[1.0, 1.0, 2.0, 3.0], [0.0, 0.0, 1.0, 0.5]])
    unlike = [(0, 2, 0.5), (1, 1, 4.0), (2, 1, 1.0)]
    factors = torch.tensor([0.5, 0.5, 4.0, 1.0])
    assert torch.equal(_scaled(scales, unlike), scales * factors)
    alike = [(0, 2, 0.25), (1, 2, 0.25)]
    assert torch.equal(_scaled(scales, alike), scales * 0.25)
    assert _scaled(scales, [(0, 4, 1.0)]) is scales

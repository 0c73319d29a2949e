"""Attention kernels give what plain torch gives."""

import pytest
import torch

from layers import draw, near, needs
from pairedit.machine.devices import settle_gpu


@pytest.mark.gpu
@needs((9, 0))
def test_cudnn_attention_agrees_with_torch():
    from pairedit.machine.attention import cudnn, plain

    settle_gpu()
    # Value and gradient as parts of larger tensors, as those of joint projections are.
    query, key = (draw(2, 320, 4, 128, device="cuda", seed=s).requires_grad_() for s in (1, 2))
    joint = draw(2, 320, 12, 128, device="cuda", seed=3).requires_grad_()
    grad = draw(2, 320, 20, 128, device="cuda", seed=4)[:, :, 4:8]
    outputs = [
        torch.autograd.grad(attend(query, key, joint[:, :, 8:]), [query, key, joint], grad)
        for attend in (cudnn, plain)
    ]
    for found, expected in zip(*outputs, strict=True):
        assert near(found, expected, 2e-2)

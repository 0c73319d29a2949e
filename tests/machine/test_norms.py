"""Group norms with silu and biases around them: the kernels give what torch gives."""

import os

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pairedit.machine import norms

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(params=["torch", "kernel"])
def device(request, monkeypatch):
    """Name where both ways run; kernels on a GPU, or by Triton's interpreter where it is there."""
    if request.param == "torch":
        return "cpu"
    pytest.importorskip("triton")
    if INTERPRETED:
        monkeypatch.setattr(norms, "runs_triton", lambda device: True)
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, or TRITON_INTERPRET=1")
    return "cuda"


def images(device, *shape):
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(shape, generator=generator) + 1
    return x.to(device, memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(2, 64, 5, 7), (1, 128, 24, 24), (1, 512, 3, 3)])
def test_norm_and_silu_with_the_bias_before_them(device, shape, biased):
    x = images(device, *shape)
    norm = nn.GroupNorm(32, shape[1], eps=1e-6)
    generator = torch.Generator().manual_seed(1)
    norm.weight.data, norm.bias.data, bias = torch.randn(3, shape[1], generator=generator)
    norm, bias = norm.to(device).requires_grad_(False), bias.to(device)
    expected = F.silu(norm(x + bias[:, None, None] if biased else x))
    found = norms.norm_silu(norm, x, bias if biased else None)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
def test_what_is_added_comes_with_a_bias(device):
    x, other = images(device, 2, 64, 5, 7), images(device, 2, 64, 5, 7)
    bias = torch.arange(64.0, device=device)
    expected = x + other + bias[:, None, None]
    torch.testing.assert_close(norms.add_biased(x.clone(), other, bias), expected)

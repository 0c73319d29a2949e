"""Fused MLPs give what plain torch gives."""

import pytest
import torch

from layers import draw, near, needs, quantise
from pairedit.bases.flux1.mlps import feed, multiply_gelu, round_gelu
from pairedit.machine.quantised import Float8


@pytest.mark.parametrize("beside", [0, 48])
@pytest.mark.parametrize("kind", [torch.nn.Linear, Float8])
def test_an_mlp_gives_the_same_with_and_without_a_gradient(kind, beside):
    up, down = torch.nn.Linear(32, 64).bfloat16(), torch.nn.Linear(64 + beside, 32).bfloat16()
    for layer in (up, down):
        if kind is Float8:
            quantise(layer, kind)
    x, other = draw(2, 5, 32), draw(2, 5, beside) if beside else None
    with torch.no_grad():
        found = feed(up, down, x, other)
    assert near(found, feed(up, down, x, other), 1e-2)
    assert found.shape == x.shape


@pytest.mark.parametrize("beside", [0, 48])
def test_an_fp8_mlp_passes_gradient_like_the_full_one(beside):
    layers = [torch.nn.Linear(32, 64).bfloat16(), torch.nn.Linear(64 + beside, 32).bfloat16()]
    inputs = [draw(2, 5, 32).requires_grad_()]
    inputs += [draw(2, 5, beside, seed=1).requires_grad_()] if beside else []
    upstream = draw(2, 5, 32, seed=2)
    expected = torch.autograd.grad(feed(*layers, *inputs), inputs, upstream)
    for layer in layers:
        quantise(layer, Float8)
    found = torch.autograd.grad(feed(*layers, *inputs), inputs, upstream)
    assert all(near(a, b, 0.08) for a, b in zip(found, expected, strict=True))


@pytest.mark.gpu
@needs((8, 9))
@pytest.mark.parametrize("features", [0, 96, 128])
def test_gpu_kernels_of_the_mlp_agree_with_torch(features):
    hidden = draw(70, 320, device="cuda") * torch.logspace(-3, 3, 70, device="cuda")[:, None]
    hidden = hidden.bfloat16()
    beside = draw(70, 128, device="cuda")[:, :features]
    rounded, scale = round_gelu(beside, hidden)
    expected = torch.cat([beside, torch.nn.functional.gelu(hidden, approximate="tanh")], dim=1)
    errors = (rounded.float() * scale - expected.float()).norm(dim=1) / expected.float().norm(dim=1)
    assert errors.max() < 0.04
    assert near(scale * 448, expected.float().abs().amax(1, keepdim=True), 1e-2)
    x, weight, bias = (draw(*shape, device="cuda") for shape in ((70, 64), (320, 64), (320,)))
    plain = torch.nn.functional.linear(x.float(), weight.float(), bias.float())
    plain = torch.nn.functional.gelu(plain, approximate="tanh")
    assert near(multiply_gelu(x, weight, bias), plain, 1e-2)

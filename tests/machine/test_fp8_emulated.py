"""What fp8 there and back means, in plain torch; and what it does to flux-mini's gradients."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from layers import draw, near, quantise
from pairedit.bases.base import velocity
from pairedit.bases.flux1 import place as placing
from pairedit.bases.flux1.load import load
from pairedit.bases.flux1.mlps import round_gelu
from pairedit.files import locate
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from pairedit.machine.quantised import F8, F8_MAX, Float8, round_rows

BF16 = 2**-8  # half a unit in the last place, relative


def rounded(x):
    """Round to e4m3 by a scale for each row, the largest number of a row to the largest of e4m3."""
    scale = x.float().abs().amax(-1, keepdim=True) / F8_MAX
    return (x.float() / scale).to(F8).float() * scale


class Emulated(torch.autograd.Function):
    """Multiply by weights of one scale an output; inputs and gradients have one scale a token.

    On the way back the outputs are summed over, so the gradient takes their scales before it is
    rounded, and weights without scales are what it is multiplied with.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(weight)
        return F.linear(rounded(x), rounded(weight), bias.float()).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        scale = weight.float().abs().amax(1) / F8_MAX
        whole = (weight.float() / scale[:, None]).to(F8).float()
        return (rounded(grad * scale.to(grad.dtype)) @ whole).to(grad.dtype), None, None


@pytest.fixture
def layers():
    """Give a layer in bf16 and the same in fp8."""
    full, layer = (torch.nn.Linear(64, 48).bfloat16() for _ in range(2))
    layer.load_state_dict(full.state_dict())
    quantise(layer, Float8)
    return full, layer


def test_fp8_layers_are_what_the_emulation_says(layers):
    full, layer = layers
    x = (draw(2, 5, 64) * torch.logspace(-3, 3, 5)[:, None]).bfloat16().requires_grad_()
    upstream = (draw(2, 5, 48) * torch.logspace(4, -4, 5)[:, None]).bfloat16()
    emulated = Emulated.apply(x, full.weight.detach(), full.bias.detach())
    for found, expected in (
        (layer(x), emulated),
        (
            torch.autograd.grad(layer(x), x, upstream)[0],
            torch.autograd.grad(emulated, x, upstream)[0],
        ),
    ):
        largest = expected.abs().amax(-1, keepdim=True)
        assert ((found - expected).abs() <= 2 * BF16 * largest).all()


def test_rows_are_rounded_as_the_emulation_says():
    x = draw(7, 64) * 3
    values, scale = round_rows(x)
    torch.testing.assert_close(values.float() * scale, rounded(x), rtol=1e-6, atol=0)
    beside, hidden = draw(7, 32), draw(7, 64, seed=1)
    values, scale = round_gelu(beside, hidden)
    activated = torch.cat([beside, F.gelu(hidden, approximate="tanh")], dim=1)
    torch.testing.assert_close(values.float() * scale, rounded(activated), rtol=1e-6, atol=0)


def step(quantiser, monkeypatch):
    """Return flux-mini's velocity under a random LoRA, and the gradient that the LoRA gets."""
    monkeypatch.setattr(placing, "quantiser", lambda precision: quantiser)
    load.cache_clear()
    flux = load(
        str(locate("pkg://flux_mini")),
        device="cpu",
        precision="float32",
        max_sequence_length=32,
        hardware=Hardware(name="fused", fused=True, precision="bf16"),
    )
    load.cache_clear()
    sigmas, text = flux.sigmas((128, 128), 28), flux.text(["image of a person"])
    flux.prepare(sigmas, text, 3.5)
    adapters, generator = Adapters(flux), torch.Generator().manual_seed(0)
    adapters.add("semantic", rank=16, alpha=1, targets="attention", generator=generator)
    weights = adapters.parameters("semantic")
    for up in weights[1::2]:
        up.data = 0.3 * torch.randn(up.shape, generator=generator)
    noisy, target = torch.randn(2, 1, *flux.latent_shape((128, 128)), generator=generator)
    with adapters.rows([Row(scales={"semantic": 1.0}, learns=frozenset({"semantic"}))]):
        found = velocity(flux, noisy, sigmas[14], text, 3.5)
        gradients = torch.autograd.grad((found - target).square().mean(), weights)
    return found.detach(), torch.cat([part.flatten() for part in gradients])


def test_flux_mini_in_fp8_learns_what_it_learns_in_bf16(monkeypatch):
    found, gradient = step(partial(quantise, kind=Float8), monkeypatch)
    expected, wanted = step(None, monkeypatch)
    # .045 and .108 here; bf16 itself is .013 and .026 from float32.
    assert near(found, expected, 0.07)
    assert near(gradient, wanted, 0.15)
    assert torch.cosine_similarity(gradient, wanted, dim=0) > 0.99

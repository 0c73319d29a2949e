"""Stacked LoRAs act on their rows, and learn from those only."""

import pytest
import torch

from pairedit.bases.flux1.flux import load
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from tiny import open_flux

FUSED = Hardware(name="fused", fused=True)


@pytest.mark.parametrize("learning", [False, True])
def test_loras_of_any_module_and_rank_act_on_their_rows(tiny_flux_folder, learning):
    targets = {
        "a": (3, [r"attn\.to_(k|v)", "proj_mlp", r"ff\.net\.2"]),
        "b": (5, "attention"),
        "c": (2, ["proj_out"]),
    }
    rows = [
        Row(scales={"a": 0.5}),
        Row(scales={"b": -0.7, "a": 1.2, "c": 1.0}, learns=frozenset({"a"})),
        Row(),
    ]

    def run(hardware):
        flux = open_flux(tiny_flux_folder, hardware)
        sigmas, text = flux.sigmas(48, 4), flux.encode_prompt(["", "a", "b"])
        flux.prepare(sigmas, text, 3.5)
        generator = torch.Generator().manual_seed(0)
        adapters = Adapters(flux.transformer, names=flux.names, stacked=hardware.fused)
        for name, (rank, modules) in targets.items():
            adapters.add(name, rank=rank, alpha=2, targets=modules, generator=generator)
        for name in targets:
            for weight in adapters.parameters(name)[1::2]:
                weight.data.normal_(generator=generator)
        latents = torch.randn(3, *flux.latent_shape(48), generator=generator)
        with adapters.rows(rows), torch.set_grad_enabled(learning):
            output = flux.velocity(latents, sigmas[1], text, 3.5)
            if learning:
                output.square().sum().backward()
        found = [output.detach()]
        found += [weight.grad for weight in adapters.parameters("a") if learning]
        adapters.remove()
        load.cache_clear()
        return found

    for found, expected in zip(run(FUSED), run(Hardware()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_stacked_loras_learn_from_their_own_rows_only(tiny_flux_folder):
    flux = open_flux(tiny_flux_folder, FUSED)
    text = flux.encode_prompt(["", ""])
    sigmas = flux.sigmas(32, 4)
    flux.prepare(sigmas, text, 3.5)
    adapters = Adapters(flux.transformer, names=flux.names, stacked=True)
    generator = torch.Generator().manual_seed(0)
    for name in ("content", "semantic"):
        adapters.add(name, rank=2, alpha=1, targets="attention", generator=generator)
    for name in ("content", "semantic"):
        for weight in adapters.parameters(name)[1::2]:
            weight.data.normal_(generator=generator)
    rows = [
        Row(scales={"content": 1.0}, learns=frozenset({"content"})),
        Row(scales={"content": 1.0, "semantic": 1.0}, learns=frozenset({"semantic"})),
    ]
    latents = torch.randn(2, *flux.latent_shape(32), generator=generator)
    with adapters.rows(rows):
        output = flux.velocity(latents, sigmas[1], text, 3.5)
        output[1].square().sum().backward()
    grads = {
        name: sum(float(w.grad.abs().sum()) for w in adapters.parameters(name))
        for name in ("content", "semantic")
    }
    adapters.remove()
    load.cache_clear()
    assert grads["content"] == 0
    assert grads["semantic"] > 0

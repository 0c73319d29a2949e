"""Modulations computed ahead: LoRAs act on the layers that tables stand for, and learn there."""

import numpy as np
import pytest
import torch

from pairedit.bases.base import velocity
from pairedit.bases.flux1.load import load
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from pairedit.machine.tabled import Tabled
from tiny import open_flux

MODULATING = ["norm1.linear", "norm1_context.linear", "norm.linear"]
ROWS = [
    Row(scales={"x": 0.7}, learns=frozenset({"x"})),
    Row(scales={"x": -0.4}),
    Row(),
]


def run(folder, fused):
    """Return three rows' velocities and the gradients of a LoRA on every modulating layer."""
    flux = open_flux(folder, Hardware(fused=fused))
    load.cache_clear()
    sigmas, text = flux.sigmas((32, 32), 4), flux.text(["", "a", ""])
    flux.prepare(sigmas, text, 3.5)
    adapters, generator = Adapters(flux), torch.Generator().manual_seed(0)
    count = adapters.add("x", rank=2, alpha=2, targets=MODULATING, generator=generator)
    weights = adapters.parameters("x")
    for weight in weights:
        weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    latents = torch.randn(3, *flux.latent_shape((32, 32)), generator=generator)
    with adapters.rows(ROWS):
        output = velocity(flux, latents, sigmas[1], text, 3.5)
        output.square().sum().backward()
    tabled = sum(isinstance(module, Tabled) for module in flux.transformer.modules())
    return count, tabled, output.detach(), [weight.grad for weight in weights]


def test_loras_on_tables_are_those_on_the_layers(tiny_flux_folder):
    count, none, plain, expected = run(tiny_flux_folder, False)
    same, tabled, fused, found = run(tiny_flux_folder, True)
    assert (count, none) == (same, 0)
    assert tabled == count + 1, "the last norm is a table, too"
    torch.testing.assert_close(fused, plain, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain[0], plain[1])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("edit", ["text", "real"])
def test_the_command_draws_the_plain_image(command, trained, pair_folder, tmp_path, edit):
    targets = "lora.targets=[norm1.linear,norm.linear,attn.to_q]"
    quick = ("learning_rate=0.1", "preview=false", "report=false")
    run = trained(tmp_path / "run", targets, *quick)
    words = ["scales=[0,1]", "skip=1", f"lora={run / 'disc/semantic.safetensors'}"]
    words += [f"edit={edit}", "seeds=[1]" if edit == "text" else f"image={pair_folder}/source"]
    images = []
    for fused in ("false", "true"):
        place = tmp_path / fused
        more = [f"+hardware.fused={fused}", f"hydra.run.dir={place}"]
        code, _, err = command("gen", *words, *more)
        assert code == 0, err
        paths = sorted((place / "images").glob("*.png"))
        images.append({path.name: path for path in paths})
    from pairedit.data.images import read_image

    assert set(images[0]) == set(images[1])
    for name, path in images[0].items():
        pair = (np.asarray(read_image(p)).astype(int) for p in (path, images[1][name]))
        assert abs(next(pair) - next(pair)).max() <= 1

"""What the published PairEdit code computed, on the tiny model, in float32: we compute the same.

Errors are relative Frobenius norms; the tolerances leave room for other BLAS libraries, not for
mistakes.
"""

from functools import cache

import pytest
import torch
from parity import (
    GOLDEN,
    MODULES,
    NOTES,
    export,
    fit,
    noise_of,
    open_flux,
    pairs_in,
    part_of,
    sample,
    sigmas_of,
    weights_of,
)

WAYS = {
    "plain": {},
    "single": {"batch_terms": False},
    "fused": {"fused": True},
}


def unpacked(tokens):
    """Turn [16, 16] tokens of 2 x 2 latent pixels into [4, 8, 8]."""
    return tokens.reshape(4, 4, 4, 2, 2).permute(2, 0, 3, 1, 4).reshape(4, 8, 8)


def error(found, expected):
    """Return the relative error; of a stack over modules that of the worst one."""
    if found.dim() == 3 and len(found) == len(MODULES):
        return max(error(one, other) for one, other in zip(found, expected, strict=True))
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def flux(tiny_flux_folder):
    return cache(lambda fused: open_flux(tiny_flux_folder, fused))


@pytest.fixture(scope="module")
def trained(flux, pair_folder, tmp_path_factory):
    """Return a function that trains 20 steps in one of the ways, once."""
    recorded = [GOLDEN[f"train.{part}"] for part in ("index", "noise", "source", "target")]

    @cache
    def run(way):
        options = dict(WAYS[way])
        model = flux(options.pop("fused", False))
        place, draws = tmp_path_factory.mktemp(way), list(zip(*recorded, strict=True))
        return fit(model, pairs_in(pair_folder), place, draws, beta=1.0, **options)

    return run


@pytest.fixture
def sliders(tmp_path):
    """Write their trained LoRAs as their code does."""
    files = {}
    for role in ("content", "semantic"):
        tensors = {}
        for index, module in enumerate(MODULES):
            stem = "lora_unet_" + module.replace(".", "_")
            tensors[f"{stem}.lora_down.weight"] = GOLDEN[f"after20.{role}.down"][index]
            tensors[f"{stem}.lora_up.weight"] = GOLDEN[f"after20.{role}.up"][index]
            tensors[f"{stem}.alpha"] = torch.tensor(float(NOTES["alpha"]))
        assert sorted(tensors) == NOTES["published_keys"]
        files[role] = tmp_path / f"{role}.pt"
        torch.save(tensors, files[role])
    return files


@pytest.mark.parametrize("way", WAYS)
def test_inputs_goals_and_velocities(trained, way):
    found = trained(way)
    for index, role in enumerate(("content", "semantic")):
        noisy, velocity = map(unpacked, found.passes[index])
        assert error(noisy, GOLDEN["first.noisy"]) < 1e-6
        assert error(found.goals[index], GOLDEN[f"first.goal.{role}"]) < 1e-6
        assert error(velocity, GOLDEN[f"first.velocity.{role}"]) < 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_losses_of_twenty_steps(trained, way):
    found = trained(way).losses
    assert found.shape == GOLDEN["train.losses"].shape
    assert ((found / GOLDEN["train.losses"] - 1).abs() < 1e-5).all()


@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_every_module(trained, way):
    found, expected = trained(way).gradients, part_of("grad")
    assert set(found) == set(expected)
    for part, gradient in found.items():
        assert error(gradient, expected[part]) < 1e-5, part


@pytest.mark.parametrize("way", WAYS)
def test_weights_after_twenty_updates(trained, way):
    for role, path in trained(way).files.items():
        for part, weights in weights_of(path).items():
            assert error(weights, GOLDEN[f"after20.{role}.{part}"]) < 1e-4, (role, part)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["beta2", "inversion"])
def test_one_step_of_other_noise_and_of_a_single_image(flux, pair_folder, tmp_path, case, way):
    given, options = part_of(case), dict(WAYS[way])
    model = flux(options.pop("fused", False))
    sides = [given[side] for side in ("source", "target", "image") if side in given]
    draws = [(given["index"], given["noise"], *sides)]
    beta = 2.0 if case == "beta2" else None
    found = fit(model, pairs_in(pair_folder), tmp_path, draws, beta=beta, **options)
    losses = given.get("losses", given.get("loss"))
    assert ((found.losses[0] / losses - 1).abs() < 1e-5).all()
    norms = part_of(f"{case}.gradnorm")
    assert set(found.gradients) == set(norms)
    for part, gradient in found.gradients.items():
        assert ((gradient.norm(dim=(1, 2)) / norms[part] - 1).abs() < 1e-5).all(), part


@pytest.mark.parametrize(("fused", "batch_size"), [(False, 1), (False, 8), (True, 8)])
def test_their_text_to_image_sampler(flux, sliders, fused, batch_size):
    found = sample(flux(fused), sliders["semantic"], batch_size=batch_size)
    for one, expected in zip(found, GOLDEN["sample.text"], strict=True):
        assert error(one, expected) < 1e-5


@pytest.mark.parametrize(("fused", "batch_size"), [(False, 1), (False, 8), (True, 8)])
def test_their_real_image_sampler(flux, sliders, pair_folder, fused, batch_size):
    image = pairs_in(pair_folder)[0].source
    found = sample(
        flux(fused),
        sliders["semantic"],
        image=image,
        content=sliders["content"],
        batch_size=batch_size,
    )
    for one, expected in zip(found, GOLDEN["sample.real"], strict=True):
        assert error(one, expected) < 1e-5


def test_noise_levels_and_starting_noise(flux):
    for resolution in (64, 512):
        found = sigmas_of(flux(False), resolution)
        assert (found - GOLDEN[f"sigmas.{resolution}px"]).abs().max() < 2e-7
    noise = noise_of(flux(False), NOTES["sample"]["seed"])
    assert error(noise, GOLDEN["sample.noise"]) < 1e-5


def test_files_have_their_keys(trained, sliders, tmp_path):
    export(trained("plain").files["semantic"], tmp_path / "ours.pt")
    found = torch.load(tmp_path / "ours.pt", weights_only=True)
    theirs = torch.load(sliders["semantic"], weights_only=True)
    assert sorted(found) == NOTES["published_keys"]
    for key, value in found.items():
        assert value.shape == theirs[key].shape
        if key.endswith(".alpha"):
            assert value == NOTES["alpha"]
        else:
            assert error(value, theirs[key]) < 1e-4

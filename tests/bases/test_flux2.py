"""FLUX.2 klein: pictures, text and latents as in diffusers' own pipeline; gradients."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from klein import LENGTH, STEPS, open_klein, ours, theirs
from pairedit.bases.base import velocity
from pairedit.bases.flux2.latents import patchify, unpatchify
from pairedit.data.examples import find_pairs
from pairedit.lora.adapters import Adapters, find_modules
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from pairedit.methods import PairEdit
from pairedit.noising import ContentPreserving, Rectified
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider
from pairedit.settings import Training
from pairedit.train import fit
from tiny import random_lora, running

SIZES = [(32, 32), (32, 64), (64, 32)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_the_picture_is_the_pipelines(klein, klein_pipeline, size, guidance):
    (found,) = ours(klein, size, guidance)
    np.testing.assert_array_equal(found, theirs(klein_pipeline, size, guidance))
    assert found.std() > 1


def test_with_a_negative_prompt_the_picture_is_the_pipelines(klein, klein_pipeline):
    (found,) = ours(klein, (32, 64), 4.0, negative_prompt="young")
    np.testing.assert_array_equal(found, theirs(klein_pipeline, (32, 64), 4.0, negative="young"))
    assert (found != ours(klein, (32, 64), 4.0)[0]).any()


def test_a_forked_run_is_the_naive_loop_with_guidance(klein, tmp_path):
    lora = random_lora(klein, tmp_path / "semantic.safetensors", sigma=3.0)
    latents, decode = [], klein.decode
    base = running(klein)
    base.decode = lambda some: latents.extend(some) or decode(some)
    ours(base, (32, 32), 3.0, [Slider(lora=lora, scales=(0.0, 0.7))], negative_prompt="young")
    adapters = Adapters(klein)
    adapters.load("x", lora)
    x = klein.noise(3, (32, 32))[None]
    with torch.no_grad(), adapters.rows([Row(scales={"x": 0.7})]):
        for sigma, following in pairwise(klein.sigmas((32, 32), STEPS)):
            c, u = (velocity(klein, x, sigma, klein.text([p]), 3.0) for p in ("old", "young"))
            x = x + (following - sigma) * (u + 3.0 * (c - u))
    adapters.remove()
    torch.testing.assert_close(latents[1], x[0], rtol=1e-4, atol=1e-4)
    assert (latents[0] - latents[1]).abs().max() > 0.1


def test_guidance_changes_the_picture(klein):
    (guided,), (plain,) = ours(klein, (32, 32), 4.0), ours(klein, (32, 32), 1.0)
    assert (guided != plain).any()


def test_the_text_is_that_of_the_whole_encoder(klein, klein_pipeline):
    """Layers behind the last one that is read are not loaded."""
    found = klein.text(["old", "a", "old"])
    assert len(klein.pipeline.text_encoder.layers) == 27
    expected, _ = klein_pipeline.encode_prompt(["old", "a", "old"], max_sequence_length=LENGTH)
    torch.testing.assert_close(found.tokens, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.of(["a"]).tokens, expected[1:2], rtol=1e-5, atol=1e-6)


def test_prompts_are_encoded_once(klein, monkeypatch):
    klein.text(["known"])
    monkeypatch.setattr(klein.pipeline, "encode_prompt", None)
    assert klein.text(["known", "known"]).prompts == ("known", "known")


def test_encoding_is_the_pipelines(klein, klein_pipeline):
    images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = klein.encode(images)
    with torch.no_grad():
        expected = klein_pipeline._encode_vae_image(images, None)
    torch.testing.assert_close(found.mean, expected)
    assert found.mean.shape == (2, *klein.latent_shape((32, 64)))
    posterior = klein.pipeline.vae.encode(images).latent_dist
    scale = torch.sqrt(klein.pipeline.vae.bn.running_var + 1e-4)[None, :, None, None]
    torch.testing.assert_close(found.std * scale, patchify(posterior.std))


def test_patches_come_back(klein_pipeline):
    latents = torch.randn(2, 4, 6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(patchify(latents), klein_pipeline._patchify_latents(latents))
    assert torch.equal(unpatchify(patchify(latents)), latents)


def gradients(base, batched, targets="attention_mlp"):
    """Return the gradients of two rows of unlike prompts, LoRAs and targets."""
    adapters = Adapters(base)
    generator = torch.Generator().manual_seed(0)
    for role in ("a", "b"):
        adapters.add(role, rank=2, alpha=2, targets=targets, generator=generator)
    for role in ("a", "b"):
        with torch.no_grad():
            for weight in adapters.parameters(role):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    noisy = torch.stack([base.noise(seed, (32, 32)) for seed in (0, 1)])
    rows = [
        Row(scales={"a": 1.0, "b": 1.0}, learns=frozenset({"a"})),
        Row(scales={"b": 1.0}, learns=frozenset({"b"})),
    ]
    text = base.text(["old", "young"])
    for part in [[0, 1]] if batched else [[0], [1]]:
        with base.training(), adapters.rows([rows[i] for i in part]):
            words = text.of([text.prompts[i] for i in part])
            velocity(base, noisy[part], torch.tensor(0.6), words, None).square().sum().backward()
    found = {
        role: [weight.grad.clone() for weight in adapters.parameters(role)] for role in ("a", "b")
    }
    adapters.remove()
    return found


def test_gradients_batched_are_those_one_by_one_and_reach_every_module(klein):
    assert len(find_modules(klein.transformer, "attention_mlp", klein.names)) == 28
    together, alone = gradients(klein, True), gradients(klein, False)
    for role, found in together.items():
        assert len(found) == 2 * 28
        for left, right in zip(found, alone[role], strict=True):
            assert left.abs().sum() > 0
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_blocks_that_run_again_give_the_same_gradients(klein_folder, klein, share):
    plain = gradients(klein, True)
    other = open_klein(klein_folder, Hardware(gradient_checkpointing=share))
    for role, found in gradients(other, True).items():
        torch.testing.assert_close(found, plain[role])


def trained(base, pairs, folder, targets="attention", noising=None):
    """Train for two steps; return every weight of every LoRA."""
    files = fit(
        base=base,
        method=PairEdit(noising=noising or ContentPreserving(noise_scale=1.0)),
        pairs=find_pairs(pairs),
        settings=Training(
            steps=2, rank=2, size=(32, 32), num_inference_steps=4, end_step=3, targets=targets
        ),
        folder=folder,
        run=Silent(),
        metadata={},
    )
    loras = [read_lora(path, base.names) for path in files.values()]
    return torch.cat([t.flatten() for x in loras for pair in x.weights.values() for t in pair])


@pytest.mark.parametrize("noising", [ContentPreserving(noise_scale=1.0), Rectified()])
def test_training_is_the_same_batched_and_one_by_one(klein, pair_folder, tmp_path, noising):
    batched = trained(klein, pair_folder, tmp_path / "batched", noising=noising)
    alone = running(klein, batch_terms=False)
    single = trained(alone, pair_folder, tmp_path / "single", noising=noising)
    # AdamW turns a gradient near zero into a step of either sign.
    assert (batched - single).norm() < 1e-3 * batched.norm()


def test_a_target_that_gets_no_gradient_is_an_error(klein, pair_folder, tmp_path, monkeypatch):
    """As if the text's own MLP were cut off from the image."""
    part = klein.transformer.transformer_blocks[1].ff_context
    monkeypatch.setattr(part, "forward", lambda x: torch.zeros_like(x))
    with pytest.raises(ValueError, match=r"targets: 4 weights of \w+.* take no part in"):
        trained(klein, pair_folder, tmp_path, "attention_mlp")


@pytest.mark.parametrize(("precision", "library"), [("int8", "torchao"), ("nf4", "bitsandbytes")])
def test_a_quantised_klein_is_near_the_full_one_or_asks_for_its_library(
    klein, klein_folder, precision, library
):
    (full,) = ours(klein, (32, 32), 4.0)
    few = open_klein(klein_folder, Hardware(precision=precision))
    try:
        __import__(library)
    except ImportError:
        with pytest.raises(ValueError, match=rf"precision={precision}: .*pairedit\[quantization\]"):
            ours(few, (32, 32), 4.0)
        return
    (found,) = ours(few, (32, 32), 4.0)
    assert 0 < np.abs(found.astype(int) - full.astype(int)).mean() < 0.2 * full.std()
    for role, weights in gradients(few, True).items():
        assert all(weight.abs().sum() > 0 for weight in weights), role

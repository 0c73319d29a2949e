"""Parity with diffusers: noise levels, packing, positions, prompts, latents."""

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps

from pairedit.bases.base import velocity
from pairedit.bases.flux1.latents import image_ids, pack, unpack
from pairedit.bases.flux1.load import load
from tiny import check_latents, write_flux


@pytest.fixture(scope="module")
def pipeline(tiny_flux_folder):
    return FluxPipeline.from_pretrained(tiny_flux_folder, dtype=torch.float32)


@pytest.mark.parametrize("resolution", [32, 128, 512, 768, 1024])
@pytest.mark.parametrize("steps", [1, 4, 28, 50])
def test_sigmas_are_those_of_diffusers(flux, pipeline, resolution, steps):
    scheduler = pipeline.scheduler
    mu = calculate_shift(
        (resolution // 16) ** 2,
        scheduler.config.base_image_seq_len,
        scheduler.config.max_image_seq_len,
        scheduler.config.base_shift,
        scheduler.config.max_shift,
    )
    retrieve_timesteps(scheduler, steps, "cpu", sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    found = flux.sigmas((resolution, resolution), steps)
    assert torch.equal(found, scheduler.sigmas)
    # The formula that the module names.
    t = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    shifted = np.exp(mu) / (np.exp(mu) + 1 / t - 1)
    torch.testing.assert_close(found[:-1].double(), shifted, rtol=1e-5, atol=1e-6)
    assert found[-1] == 0
    assert (found.diff() < 0).all()


def test_packing_is_that_of_diffusers():
    latents = torch.randn(2, 4, 6, 8)
    tokens = pack(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 2, 4, 6, 8))
    assert torch.equal(unpack(tokens, 6, 8), latents)
    expected = FluxPipeline._prepare_latent_image_ids(1, 3, 4, "cpu", torch.float32)
    assert torch.equal(image_ids(6, 8), expected)


@torch.no_grad()
def test_prompts_are_encoded_as_by_diffusers_whatever_the_batch(flux, pipeline):
    prompts = ["", "old man", "old"]
    text = flux.text(prompts)
    for index, prompt in enumerate(prompts):
        tokens, pooled, _ = pipeline.encode_prompt(prompt, max_sequence_length=32)
        assert torch.equal(text.tokens[index], tokens[0])
        assert torch.equal(text.pooled[index], pooled[0])
    assert torch.equal(text.rows([2, 0]).tokens, text.tokens[[2, 0]])


def test_noise_is_that_of_diffusers(flux, pipeline):
    expected, _ = pipeline.prepare_latents(
        1, 4, 32, 32, torch.float32, "cpu", torch.Generator().manual_seed(7)
    )
    assert torch.equal(pack(flux.noise(7, (32, 32))[None]), expected)


def test_latents_are_normalised_and_decode_inverts_it(flux):
    check_latents(flux, (32, 32))


def test_guidance_is_neither_dropped_nor_invented(flux, tmp_path):
    text = flux.text([""])
    noisy = flux.noise(0, (32, 32))[None]
    with pytest.raises(ValueError, match=r"guidance_scale=None: expected a number"):
        velocity(flux, noisy, torch.tensor(0.5), text, None)
    with torch.no_grad():
        weak, strong = (velocity(flux, noisy, torch.tensor(0.5), text, g) for g in (1.0, 7.0))
    assert not torch.allclose(weak, strong)
    folder = write_flux(tmp_path / "schnell", guidance=False)
    unguided = load(str(folder), device="cpu", precision="float32", max_sequence_length=32)
    with pytest.raises(ValueError, match=r"guidance_scale=3\.5: expected null"):
        velocity(unguided, noisy, torch.tensor(0.5), text, 3.5)
    assert velocity(unguided, noisy, torch.tensor(0.5), text, None).shape == noisy.shape


def test_one_model_is_loaded_once(tiny_flux_folder, flux):
    arguments = {"device": "cpu", "precision": "float32", "max_sequence_length": 32}
    assert load(str(tiny_flux_folder), **arguments) is flux


def test_bfloat16_base_keeps_latents_and_vae_in_float32(tiny_flux_folder):
    flux = load(str(tiny_flux_folder), device="cpu", precision="bf16", max_sequence_length=32)
    assert flux.dtype == torch.bfloat16
    assert flux.pipeline.vae.dtype == torch.float32
    with torch.no_grad():
        found = velocity(
            flux, flux.noise(0, (32, 32))[None], torch.tensor(0.5), flux.text(["a"]), 3.5
        )
    assert found.dtype == torch.float32


def test_bad_sizes_and_folders_are_refused(flux, tmp_path):
    for resolution in (0, 8, 24, 33):
        with pytest.raises(
            ValueError, match=rf"an image of 32 x {resolution} px: expected multiples"
        ):
            flux.latent_shape((resolution, 32))
    with pytest.raises(ValueError, match=r"path=.*not a readable FLUX model: "):
        load(str(tmp_path), device="cpu", precision="float32", max_sequence_length=32)


def test_a_hub_model_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"no-one/FLUX: .*unset HF_HUB_OFFLINE.* a local folder"):
        load("no-one/FLUX", device="cpu", precision="float32", max_sequence_length=32)

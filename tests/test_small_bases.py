"""The small FLUX.2 and Z-Image: trained a little, they open as their large ones do."""

import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1]))

from scripts.small_bases import words
from scripts.small_bases.bases import SMALL, flux_mini_vae
from scripts.small_bases.look import open_small
from scripts.small_bases.train import Job, draw_sigma, train
from transformers import Qwen3ForCausalLM

from pairedit.bases.base import velocity
from pairedit.mini.faces import render, sample_attributes
from pairedit.mini.probe import WEIGHTS

CPU = torch.device("cpu")
LINES = ["image of a person, with glasses, old", ""]


# Both are trained by the same loop; what is each one's own is a row of `SMALL`.
@pytest.fixture(
    scope="module", params=["flux2-mini", pytest.param("z-image-mini", marks=pytest.mark.heavy)]
)
def small(request, tmp_path_factory):
    """Train one for a step; return what it is and its folder."""
    folder = tmp_path_factory.mktemp("small") / request.param
    job = Job(
        device=CPU, minutes=1, steps=1, faces=4, batch=2, compiled=True, started=time.monotonic()
    )
    train(SMALL[request.param], job, folder)
    return SMALL[request.param], folder


def test_it_is_trained_on_the_velocity_that_pairedit_renders_with(small):
    spec, folder = small
    base = open_small(spec.option, folder, CPU)
    ids, mask = words.token_ids(base.pipeline.tokenizer, LINES)
    encoder = Qwen3ForCausalLM.from_pretrained(folder / "text_encoder")
    text = words.encode(encoder, ids, mask, spec.layers, CPU).float()
    noisy = torch.stack([base.noise(seed, (128, 128)) for seed in (1, 2)])
    sigma = torch.tensor([0.3, 0.8])
    with torch.no_grad():
        found = spec.velocity(base.transformer, noisy, sigma, text, mask)
        expected = velocity(base, noisy, sigma, base.text(LINES), None)
    # Training keeps what the text encoder says in bf16.
    assert (found - expected).norm() < 1e-2 * expected.norm()


def test_pairedit_eval_finds_a_probe_in_its_folder(small):
    assert (small[1] / "probe.safetensors").read_bytes() == WEIGHTS.read_bytes()


def test_its_latents_are_those_of_flux_mini_normalised(small):
    spec, folder = small
    base = open_small(spec.option, folder, CPU)
    images = render(sample_attributes(4, torch.Generator().manual_seed(1000)).float()) * 2 - 1
    with torch.no_grad():
        raw = flux_mini_vae().encode(images).latent_dist.mode()
    posterior = base.encode(images)
    expected = spec.normalise(base.pipeline.vae, raw)
    torch.testing.assert_close(posterior.mean, expected, rtol=1e-3, atol=1e-3)
    assert (base.decode(posterior.mean) - images).abs().mean() < 0.03


def test_captions_tell_what_is_seen_and_are_read_whole():
    attributes = sample_attributes(300, torch.Generator().manual_seed(3)).float()
    lines = words.captions(attributes, seed=0)
    assert lines == words.captions(attributes, seed=0)
    assert 0.1 < lines.count("") / 300 < 0.3
    old = [line for line in lines if "old" in line.split(", ")]
    assert old
    tokenizer = words.build_tokenizer()
    ids, mask = words.token_ids(tokenizer, lines)
    assert ids.shape == (300, words.LENGTH)
    assert mask.sum(1).max() <= words.LENGTH
    assert tokenizer.decode(ids[lines.index(old[0])][: len(ids[0])]).startswith(old[0][:30])
    assert len(tokenizer("with glasses").input_ids) == 2, "a word is a token"


def test_noise_levels_are_drawn_within_bounds():
    sigma = draw_sigma(1000, 5.9, CPU)
    assert 0 < sigma.min() < 0.1
    assert 0.9 < sigma.max() <= 1

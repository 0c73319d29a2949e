"""The sampler: forked equals naive, scale 0 is the base, files open in plain diffusers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from pairedit import sample
from pairedit.bases.base import velocity
from pairedit.data.images import to_image
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import LoraFile
from pairedit.lora.rows import Row
from pairedit.sample import Slider, file_name, generate
from pairedit.settings import Rendering
from tiny import attached, running, strong_lora

SCALES = (-0.5, 0.0, 0.5, 1.0)
PROMPTS, SEEDS, STEPS, SKIP = ["old", ""], [3, 1], 5, 2


def render(flux, sliders, *, skip=SKIP, batch_size=8, prompts=PROMPTS, seeds=SEEDS):
    samples = generate(
        running(flux, batch_size=batch_size),
        sliders=sliders,
        prompts=prompts,
        seeds=seeds,
        rendering=Rendering(skip=skip, num_inference_steps=STEPS, size=(32, 32)),
    )
    return {(s.prompt, s.seed, s.scales): np.asarray(s.image).astype(int) for s in samples}


@torch.no_grad()
def naive(flux, adapters, scales, prompt, seed, skip=SKIP):
    """Sample one image alone, without fork, as the definition of `skip` says."""
    sigmas = flux.sigmas((32, 32), STEPS)
    text = flux.text([prompt])
    x = flux.noise(seed, (32, 32))[None]
    for step in range(STEPS):
        on = {f"x{i}": scale for i, scale in enumerate(scales)} if step >= skip else {}
        with adapters.rows([Row(scales=on)]):
            v = velocity(flux, x, sigmas[step], text, 3.5)
        x = x + (sigmas[step + 1] - sigmas[step]) * v
    return np.asarray(to_image(flux.decode(x)[0])).astype(int)


@pytest.mark.parametrize(("skip", "batch_sizes"), [(0, [3]), (SKIP, [1, 3, 16]), (STEPS - 1, [3])])
def test_forked_sampling_is_the_naive_loop(flux, lora, skip, batch_sizes):
    columns = [(p, s, (c,)) for p in PROMPTS for s in SEEDS for c in SCALES]
    with attached(flux, {"x0": lora}) as on:
        expected = {(p, s, c): naive(flux, on, c, p, s, skip) for p, s, c in columns}
    for batch_size in batch_sizes:
        found = render(flux, [Slider(lora=lora, scales=SCALES)], batch_size=batch_size, skip=skip)
        assert list(found) == columns
        for column, image in found.items():
            assert abs(image - expected[column]).max() <= 1, (batch_size, column)
        moved = abs(found["old", 3, (1.0,)] - found["old", 3, (0.0,)]).max()
        assert moved > 8, "the LoRA is strong enough for this test to mean something"


def test_steps_before_the_fork_run_once_for_each_seed(flux, lora):
    rows = []
    hook = flux.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    render(flux, [Slider(lora=lora, scales=SCALES)], skip=2)
    hook.remove()
    assert sum(rows) == len(PROMPTS) * len(SEEDS) * (2 + len(SCALES) * (STEPS - 2))


def test_scale_zero_is_the_base_bit_for_bit(flux, lora):
    base = render(flux, [])
    zero = render(flux, [Slider(lora=lora, scales=SCALES)], skip=0)
    for prompt in PROMPTS:
        for seed in SEEDS:
            assert np.array_equal(zero[prompt, seed, (0.0,)], base[prompt, seed, ()])


def test_latents_at_scale_zero_are_the_base_bit_for_bit(flux, lora):
    """The same on latents, where rounding to 8 bits hides nothing."""
    latents = torch.stack([flux.noise(seed, (32, 32)) for seed in (1, 2, 3)])
    text = flux.text(["old"] * 3)
    with torch.no_grad():
        base = velocity(flux, latents, torch.tensor(0.8), text, 3.5)
        adapters = Adapters(flux)
        adapters.load("x", lora)
        with adapters.rows([Row(scales={"x": 1.0}), Row(scales={"x": 0.0}), Row()]):
            mixed = velocity(flux, latents, torch.tensor(0.8), text, 3.5)
        adapters.remove()
    assert torch.equal(mixed[1:], base[1:])
    assert not torch.allclose(mixed[0], base[0])


def test_plain_diffusers_draws_our_image(flux, lora, tiny_flux_folder):
    found = render(
        flux, [Slider(lora=lora, scales=(0.0, 0.6, 1.0))], skip=0, prompts=["old man"], seeds=[7]
    )
    pipeline = FluxPipeline.from_pretrained(tiny_flux_folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(lora.path.parent), weight_name=lora.path.name)
    for scale in (0.0, 0.6, 1.0):
        image = pipeline(
            "old man",
            height=32,
            width=32,
            num_inference_steps=STEPS,
            guidance_scale=3.5,
            max_sequence_length=32,
            generator=torch.Generator().manual_seed(7),
            joint_attention_kwargs={"scale": scale},
        ).images[0]
        difference = abs(np.asarray(image).astype(int) - found["old man", 7, (scale,)])
        assert difference.max() <= 1


def test_several_sliders_act_together_each_with_its_scales(flux, lora, tmp_path):
    other = strong_lora(flux, tmp_path / "other.safetensors", seed=9, rank=5)
    found = render(
        flux,
        [Slider(lora=lora, scales=(0.5, 0.5, 0.0)), Slider(lora=other, scales=(0.0, 0.4, 0.4))],
        prompts=["old"],
        seeds=[3],
    )
    assert list(found) == [("old", 3, pair) for pair in ((0.5, 0.0), (0.5, 0.4), (0.0, 0.4))]
    with attached(flux, {"x0": lora, "x1": other}) as on:
        for (prompt, seed, scales), image in found.items():
            assert abs(image - naive(flux, on, scales, prompt, seed)).max() <= 1
    images = list(found.values())
    assert all(abs(a - b).max() > 8 for a, b in pairwise(images))


def test_a_stopped_generator_leaves_the_model_clean(flux, lora):
    samples = generate(
        flux,
        sliders=[Slider(lora=lora, scales=SCALES)],
        prompts=PROMPTS,
        seeds=SEEDS,
        rendering=Rendering(
            skip=SKIP, num_inference_steps=STEPS, guidance_scale=3.5, size=(32, 32)
        ),
    )
    next(samples)
    samples.close()
    assert not getattr(flux.transformer, "peft_config", None)


def test_a_lora_of_another_model_is_refused(flux, lora):
    weights = {module: (torch.ones(2, 7), torch.ones(7, 2)) for module in list(lora.weights)[:5]}
    strange = LoraFile(path=lora.path, weights=weights, metadata={}, sha256="")
    with pytest.raises(ValueError, match=r"semantic\.safetensors: does not fit .* and 2 more"):
        render(flux, [Slider(lora=strange, scales=(1.0,))])


def test_file_names_tell_samples_apart(flux, lora):
    samples = list(
        generate(
            flux,
            sliders=[Slider(lora=lora, scales=(-0.25, 0.0, 0.25, 1 / 3))],
            prompts=["a", "b"],
            seeds=[0, 12345678],
            rendering=Rendering(skip=1, num_inference_steps=2, guidance_scale=3.5, size=(32, 32)),
        )
    )
    names = [file_name(sample, ["a", "b"].index(sample.prompt)) for sample in samples]
    assert len(set(names)) == len(names)
    assert names[0] == "prompt00_seed000000_scale-0.25.png"
    assert not any(set(name) & set("=,/ ") for name in names)
    assert math.isclose(samples[3].scales[0], 1 / 3)


@pytest.mark.parametrize("ahead", [False, True])
def test_on_a_gpu_the_next_rows_begin_before_pictures_are_given(monkeypatch, ahead):
    monkeypatch.setattr(sample, "_sample", lambda drawn: drawn)
    order = []

    def rows(count):
        for number in range(count):
            order.append(f"begin {number}")
            yield [number]

    for number in sample._samples(rows(3), ahead=ahead):
        order.append(f"give {number}")
    at_once = ["begin 0", "give 0", "begin 1", "give 1", "begin 2", "give 2"]
    before = ["begin 0", "begin 1", "give 0", "begin 2", "give 1", "give 2"]
    assert order == (before if ahead else at_once)

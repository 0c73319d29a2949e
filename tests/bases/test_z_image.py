"""Z-Image: parity with diffusers' own pipeline, gradients, files, commands; a tiny random one."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from composing import composed
from pairedit.bases.base import velocity
from pairedit.bases.z_image.load import load
from pairedit.bases.z_image.model import ZImage
from pairedit.bases.z_image.names import NAMES
from pairedit.data.examples import find_pairs
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora, write_lora
from pairedit.lora.layouts import to_tensors
from pairedit.lora.rows import Row
from pairedit.methods import PairEdit
from pairedit.noising import ContentPreserving, Rectified
from pairedit.plan.build import build
from pairedit.plan.model import build_model
from pairedit.problems import Problems
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training, step_of
from pairedit.train import fit
from tiny import assert_same_edit, random_lora, running
from tiny_z_image import LENGTH, write_z_image

PROMPTS = ("old", "a portrait of a man who smiles at whoever looks at him")  # unlike lengths
NEGATIVE = "blurry"
STEPS = 4
WEIGHTS = {"rtol": 1e-3, "atol": 1e-6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_z_image(tmp_path_factory.mktemp("tiny") / "z_image")


@pytest.fixture
def base(folder):
    base = load(str(folder), device="cpu", precision="float32", max_sequence_length=LENGTH)
    yield base
    assert not getattr(base.transformer, "peft_config", None)
    assert not base.transformer.gradient_checkpointing


@pytest.fixture(scope="module")
def pipeline(folder):
    """Open the same folder in plain diffusers."""
    pipeline = ZImagePipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def tiny_overrides(folder):
    """Point the commands of these tests at the tiny model."""
    return [
        "model=z-image",
        f"model.path={folder}",
        f"model.max_sequence_length={LENGTH}",
        "resolution=32",
        "num_inference_steps=4",
        "device=cpu",
    ]


def drawn(pipeline, prompt, size=(32, 32), guidance_scale=0.0, negative="", kind="latent", **more):
    """Return what diffusers draws: latents, or kind="np" images."""
    return pipeline(
        prompt,
        height=size[0],
        width=size[1],
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        negative_prompt=negative,
        max_sequence_length=LENGTH,
        generator=torch.Generator().manual_seed(7),
        output_type=kind,
        **more,
    ).images[0]


def ours(base, prompts, size=(32, 32), guidance_scale=0.0, negative="", sliders=()):
    """Return the latents and the images that our sampler makes, by prompt and scales."""
    latents = []
    base = running(base)
    decode = base.decode
    base.decode = lambda some: latents.extend(some) or decode(some)
    samples = generate(
        base,
        sliders=list(sliders),
        prompts=list(prompts),
        seeds=[7],
        rendering=Rendering(
            skip=0,
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            negative_prompt=negative,
            size=size,
        ),
    )
    return {
        (sample.prompt, *sample.scales): (one, np.asarray(sample.image) / 255)
        for sample, one in zip(samples, latents, strict=True)
    }


def apart(found, expected):
    """Return how far latents are apart, relative to the largest of them."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("size", [(32, 32), (48, 32), (32, 64)])
@pytest.mark.parametrize(("scale", "negative"), [(0.0, ""), (4.0, ""), (1.0, NEGATIVE)])
def test_our_sampler_draws_the_image_of_diffusers(base, pipeline, size, scale, negative):
    together = ours(base, PROMPTS, size, scale, negative)
    for prompt in PROMPTS:
        expected = drawn(pipeline, prompt, size, scale, negative)
        ((alone, image),) = ours(base, [prompt], size, scale, negative).values()
        # c + g (c - u) and (1 + g) c - g u round otherwise.
        assert apart(alone, expected) <= (1e-6 if scale else 0)
        shown = drawn(pipeline, prompt, size, scale, negative, kind="np")
        assert abs(image - shown).max() <= 0.5001 / 255, "but for rounding to 8 bits"
        # Beside a longer prompt a row is padded and masked inside.
        assert apart(together[(prompt,)][0], expected) <= 5e-6
    if scale:
        assert apart(expected, drawn(pipeline, prompt, size)) > 1e-2, "guidance does something"


@torch.no_grad()
def test_the_forked_sampler_is_the_naive_loop_with_guidance(base, tmp_path):
    lora = random_lora(base, tmp_path / "x.safetensors")
    found = ours(base, PROMPTS, guidance_scale=3.0, sliders=[Slider(lora=lora, scales=(0.0, 0.7))])
    adapters = Adapters(base)
    adapters.load("x", lora)
    for prompt in PROMPTS:
        text, nothing = base.text([prompt]), base.text([""])
        x = base.noise(7, (32, 32))[None]
        with adapters.rows([Row(scales={"x": 0.7})]):
            for sigma, following in pairwise(base.sigmas((32, 32), STEPS)):
                c, u = (velocity(base, x, sigma, one, 3.0) for one in (text, nothing))
                x = x + (following - sigma) * (c + 3.0 * (c - u))
        assert apart(found[prompt, 0.7][0], x[0]) <= 1e-5
        assert apart(found[prompt, 0.7][0], found[prompt, 0.0][0]) > 0.1
    adapters.remove()


def test_scale_zero_is_the_base_bit_for_bit_with_guidance(base, tmp_path):
    lora = random_lora(base, tmp_path / "x.safetensors")
    for prompt in PROMPTS:
        slider = Slider(lora=lora, scales=(0.0,))
        (found,) = ours(base, [prompt], guidance_scale=3.0, sliders=[slider]).values()
        (plain,) = ours(base, [prompt], guidance_scale=3.0).values()
        assert torch.equal(found[0], plain[0])


@pytest.mark.parametrize("targets", ["attention", "attention_mlp"])
def test_our_file_in_plain_diffusers_draws_our_image(base, pipeline, tmp_path, targets):
    lora = random_lora(base, tmp_path / "x.safetensors", targets)
    sliders = [Slider(lora=lora, scales=(0.7,))]
    ((expected, _),) = ours(base, PROMPTS[:1], guidance_scale=2.0, sliders=sliders).values()
    pipeline.load_lora_weights(str(tmp_path), weight_name=lora.path.name)
    try:
        scale = {"joint_attention_kwargs": {"scale": 0.7}}
        found = drawn(pipeline, PROMPTS[0], guidance_scale=2.0, **scale)
    finally:
        pipeline.unload_lora_weights()
    assert apart(found, expected) <= 1e-5
    assert apart(drawn(pipeline, PROMPTS[0], guidance_scale=2.0), expected) > 0.1


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_a_round_trip_keeps_the_edit(base, tmp_path, layout):
    lora = random_lora(base, tmp_path / "x.safetensors", [r".*"], (3, 2))
    assert len(lora.weights) == len(NAMES.modules([1, 1, 2]))
    path = tmp_path / "back.safetensors"
    write_lora(path, lora.weights, lora.metadata, layout, NAMES)
    assert_same_edit(lora, read_lora(path, NAMES))


def test_one_matrix_of_the_original_holds_query_key_and_value_in_this_order(base, tmp_path):
    """ComfyUI takes its rows apart in this order."""
    lora = random_lora(base, tmp_path / "x.safetensors", "attention", (2,))
    stacked = to_tensors(lora.weights, "kohya", NAMES)
    stem = "lora_unet_layers_1_attention_qkv.lora_"
    whole = stacked[stem + "up.weight"] @ stacked[stem + "down.weight"]
    parts = [lora.weights[f"layers.1.attention.to_{part}"] for part in "qkv"]
    torch.testing.assert_close(whole, torch.cat([up @ down for down, up in parts]))


@pytest.mark.parametrize("prefix", ["diffusion_model.", "transformer.", "base_model.model.", ""])
def test_a_file_of_comfyui_is_read_by_any_of_its_prefixes(base, tmp_path, prefix):
    from safetensors.torch import load_file, save_file

    lora = random_lora(base, tmp_path / "x.safetensors", "attention_mlp")
    tensors = load_file(lora.path)
    named = {prefix + key.removeprefix("transformer."): value for key, value in tensors.items()}
    save_file(named, tmp_path / "other.safetensors")
    assert_same_edit(lora, read_lora(tmp_path / "other.safetensors", NAMES))


def test_the_velocity_of_a_row_does_not_depend_on_the_others(base):
    """Prompts of unlike lengths are padded inside; the padding must be without effect."""
    noisy = torch.stack([base.noise(seed, (32, 32)) for seed in (1, 2)])
    sigma = torch.tensor(0.6)
    text = base.text(PROMPTS)
    lengths = [-(-len(tokens) // 32) for tokens in text.tokens]
    assert len(set(lengths)) == 2, "they differ after padding to multiples of 32 too"
    with torch.no_grad():
        both = velocity(base, noisy, sigma, text, None)
        for index, prompt in enumerate(PROMPTS):
            one = velocity(base, noisy[index : index + 1], sigma, text.of([prompt]), None)
            torch.testing.assert_close(both[index], one[0], rtol=1e-5, atol=2e-6)


def test_the_clock_runs_backwards_and_the_sign_is_turned(base, pipeline):
    x, text = base.noise(1, (32, 32))[None], base.text(PROMPTS[:1])
    with torch.no_grad():
        found = velocity(base, x, torch.tensor(0.75), text, None)
        output = pipeline.transformer([x[0][:, None]], torch.tensor([0.25]), list(text.tokens))
    torch.testing.assert_close(found[0], -output.sample[0][:, 0], rtol=1e-5, atol=1e-6)


def gradients(base, rows, targets="attention"):
    """Return the gradients of a LoRA with every weight drawn, from these rows of two, summed."""
    adapters = Adapters(base)
    generator = torch.Generator().manual_seed(3)
    adapters.add("x", rank=2, alpha=2.0, targets=targets, generator=generator)
    weights = adapters.parameters("x")
    for weight in weights:
        weight.data = torch.randn(weight.shape, generator=generator) / 8
    noisy = torch.stack([base.noise(seed, (32, 32)) for seed in (1, 2)])
    with base.training():
        for part in rows:
            text = base.text([PROMPTS[index] for index in part])
            with adapters.rows([Row(scales={"x": 1.0}, learns={"x"}) for _ in part]):
                output = velocity(base, noisy[part], torch.tensor(0.6), text, None)
                output.square().mean((1, 2, 3)).sum().backward()
    found = [weight.grad for weight in weights]
    adapters.remove()
    return found


def test_gradients_batched_equal_one_by_one_and_checkpointed(base):
    batched = gradients(base, [[0, 1]])
    for other in (
        gradients(base, [[0], [1]]),
        gradients(running(base, gradient_checkpointing=1.0), [[0, 1]]),
        gradients(running(base, gradient_checkpointing=0.5), [[0, 1]]),
    ):
        for one, two in zip(batched, other, strict=True):
            torch.testing.assert_close(one, two, **WEIGHTS)


def test_checkpointing_runs_its_share_of_the_blocks_again(base):
    counts = dict.fromkeys(base.blocks(), 0)

    def count(block, _):
        counts[block] += 1

    hooks = [block.register_forward_pre_hook(count) for block in counts]
    gradients(running(base, gradient_checkpointing=0.5), [[0, 1]])
    for hook in hooks:
        hook.remove()
    assert list(counts.values()) == [2, 2, 1, 1]


@pytest.mark.parametrize("targets", ["attention", "attention_mlp", (r".*",)])
def test_every_module_that_a_lora_sits_on_gets_a_gradient(base, targets):
    """Those of the text too: what `context_refiner` makes of it is seen by every later block."""
    found = gradients(base, [[0, 1]], targets)
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in found)
    count = {"attention": 16, "attention_mlp": 28}.get(targets, 31)
    assert len(found) == 2 * count


@pytest.mark.parametrize("noising", [ContentPreserving(noise_scale=1.0), Rectified()])
def test_training_is_the_same_batched_and_one_by_one(base, pair_folder, tmp_path, noising):
    settings = Training(
        steps=3, rank=2, size=(32, 32), num_inference_steps=4, end_step=3, guidance_scale=4.0
    )

    def weights(name, **changes):
        files = fit(
            base=running(base, **changes),
            method=PairEdit(noising=noising),
            pairs=find_pairs(pair_folder),
            settings=settings,
            folder=tmp_path / name,
            run=Silent(),
            metadata={},
        )
        loras = [read_lora(path, NAMES) for path in files.values()]
        return torch.cat([t.flatten() for x in loras for pair in x.weights.values() for t in pair])

    batched, single = weights("batched"), weights("single", batch_terms=False)
    # AdamW turns a gradient near zero into a step of either sign.
    assert (batched - single).norm() < 1e-3 * batched.norm()


def test_prompts_are_encoded_as_by_diffusers_without_their_padding(base, pipeline):
    text = base.text([*PROMPTS, ""])
    for tokens, prompt in zip(text.tokens, text.prompts, strict=True):
        expected, _ = pipeline.encode_prompt(prompt, max_sequence_length=LENGTH)
        assert torch.equal(tokens, expected[0])
    assert [len(t) for t in text.of(["", "old", ""]).tokens] == [
        len(text.tokens[2]), len(text.tokens[0]), len(text.tokens[2])
    ]  # fmt: skip


def test_latents_are_normalised_and_decode_inverts_it(base):
    images = torch.rand(2, 3, 32, 48) * 2 - 1
    posterior, vae = base.encode(images), base.pipeline.vae
    with torch.no_grad():
        raw = vae.encode(images).latent_dist
        expected = (raw.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        decoded = vae.decode(raw.mode(), return_dict=False)[0]
    torch.testing.assert_close(posterior.mean, expected)
    torch.testing.assert_close(posterior.std, raw.std * vae.config.scaling_factor)
    torch.testing.assert_close(base.decode(posterior.mean), decoded, rtol=1e-4, atol=1e-5)
    assert posterior.mean.shape[1:] == base.latent_shape((32, 48))
    with pytest.raises(ValueError, match=r"32 x 24 px: expected multiples of 16 px"):
        base.latent_shape((24, 32))


def test_the_noise_levels_are_shifted_by_three_whatever_the_size(base):
    t = torch.linspace(1, 1 / 28, 28)
    for size in ((32, 32), (512, 512)):
        found = base.sigmas(size, 28)
        torch.testing.assert_close(found[:-1], 3 * t / (1 + 2 * t))
        assert found[-1] == 0


def option(**changes):
    return replace(build(composed("gen", "model=z-image").model, "model", ZImage), **changes)


def test_the_page_for_comfyui_has_the_steps_of_the_usual_level(base):
    page = Path(__file__).parents[2].joinpath("docs/comfyui.md").read_text()
    (written,) = re.findall(r"^\| `z-image` \| any \| (\d+) \| (\d+) \| (\d+) \|$", page, re.M)
    grids = [base.sigmas((512, 512), steps) for steps in (20, 28, 50)]
    assert [str(step_of(option().skip, grid)) for grid in grids] == list(written)


def test_by_default_a_slider_acts_where_it_does_on_flux(base):
    """At the noise level that FLUX.1-dev has after 11 of its 28 steps at 512 px."""
    model = option()
    sigmas = base.sigmas((512, 512), model.num_inference_steps)
    assert step_of(model.skip, sigmas) == 14
    assert float(sigmas[14]) == pytest.approx(0.75)
    assert len(model.modules()) == 32 * 8 + 2 * 7


def test_training_draws_as_many_high_levels_as_on_flux(base):
    model = option()
    sigmas = base.sigmas((512, 512), model.num_inference_steps)
    trained = sigmas[step_of(model.start_step, sigmas) : -1]
    assert 0.30 < float((trained > 0.8).float().mean()) < 0.35, "FLUX.1 has .32"


def test_modules_are_those_of_the_folder(base, folder):
    parts = base.transformer.named_modules()
    linears = {name for name, part in parts if isinstance(part, torch.nn.Linear)}
    inside = {name for name in linears if NAMES.block.match(name)}
    assert set(option(path=str(folder)).modules()) == inside


def test_bfloat16_keeps_latents_and_vae_in_float32(folder):
    base = load(str(folder), device="cpu", precision="bf16", max_sequence_length=LENGTH)
    assert base.transformer.dtype == torch.bfloat16
    assert base.pipeline.vae.dtype == torch.float32
    x, text = base.noise(0, (32, 32))[None], base.text(["a"])
    with torch.no_grad():
        assert velocity(base, x, torch.tensor(0.5), text, None).dtype == torch.float32


def test_a_slider_is_trained_rendered_measured_and_exported(command, export, pair_folder, tmp_path):
    run = tmp_path / "run"
    words = ["dataset=folder", f"pairs={pair_folder}", "steps=2", "lora.rank=2"]
    code, _, err = command("train", *words, f"hydra.run.dir={run}")
    assert not code, err
    lora = run / pair_folder.name / "semantic.safetensors"
    out = tmp_path / "images"
    words = [f"lora={lora}", "scales=[0,1]", f"negative_prompt={NEGATIVE}"]
    code, _, err = command("gen", *words, f"hydra.run.dir={out}")
    assert not code, err
    assert len(list((out / "images").iterdir())) > 1
    code, _, err = command(
        "eval", f"lora={lora}", "reader=[]", f"hydra.run.dir={tmp_path / 'report'}"
    )
    assert not code, err
    kohya = tmp_path / "kohya.safetensors"
    code, _, err = export(f"lora={lora}", "layout=kohya", f"out={kohya}")
    assert not code, err
    assert_same_edit(read_lora(lora, NAMES), read_lora(kohya, NAMES))
    code, _, err = command("gen", f"lora={kohya}", f"hydra.run.dir={tmp_path / 'again'}")
    assert not code, err


def test_a_folder_of_another_kind_is_refused(tiny_flux_folder):
    config = composed("gen", "model=z-image", f"model.path={tiny_flux_folder}")
    problems = Problems()
    build_model(config, problems)
    (problem,) = problems
    assert "holds a FluxPipeline, which model=z-image cannot read; expected model=flux-" in problem


def test_a_folder_that_is_broken_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "lacks transformer" in option(path=str(tmp_path / "empty")).problems(4.0)["path"]
    assert "0 turns guidance off" in option().problems(None)["guidance_scale"]
    with pytest.raises(ValueError, match=r"path=.*not a readable Z-Image model: "):
        load(str(tmp_path), device="cpu", precision="float32", max_sequence_length=32)

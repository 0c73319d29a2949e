"""FLUX.2 klein: pictures as diffusers' own pipeline draws them, LoRAs that reach every module."""

import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from klein import LENGTH, open_klein, write_klein
from pairedit.bases.base import velocity
from pairedit.bases.flux2.latents import patchify, unpatchify
from pairedit.data.examples import find_pairs
from pairedit.lora.adapters import Adapters, find_modules
from pairedit.lora.file import read_lora, write_lora
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from pairedit.methods import PairEdit
from pairedit.noising import ContentPreserving, Rectified
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training, step_of
from pairedit.train import fit
from tiny import assert_same_edit, random_lora, running

SIZES = [(32, 32), (32, 64), (64, 32)]
STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_klein(tmp_path_factory.mktemp("tiny") / "klein")


@pytest.fixture
def klein(folder):
    from pairedit.bases.flux2.load import load

    base = load(str(folder), device="cpu", precision="float32", max_sequence_length=LENGTH)
    yield base
    assert not getattr(base.transformer, "peft_config", None)
    assert not base.transformer.gradient_checkpointing


@pytest.fixture(scope="module")
def pipeline(folder):
    from diffusers import Flux2KleinPipeline

    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(pipeline, size, guidance, seed=3, negative=""):
    height, width = size
    unwanted, _ = pipeline.encode_prompt(negative, max_sequence_length=LENGTH)
    image = pipeline(
        prompt="old",
        height=height,
        width=width,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        negative_prompt_embeds=unwanted,
        max_sequence_length=LENGTH,
        generator=torch.Generator().manual_seed(seed),
    ).images[0]
    return np.asarray(image)


def ours(base, size, guidance, sliders=(), seed=3, **changes):
    rendering = Rendering(num_inference_steps=STEPS, guidance_scale=guidance, size=size, **changes)
    samples = generate(base, sliders=sliders, prompts=["old"], seeds=[seed], rendering=rendering)
    return [np.asarray(sample.image) for sample in samples]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_the_picture_is_the_pipelines(klein, pipeline, size, guidance):
    (found,) = ours(klein, size, guidance)
    np.testing.assert_array_equal(found, theirs(pipeline, size, guidance))
    assert found.std() > 1


def test_with_a_negative_prompt_the_picture_is_the_pipelines(klein, pipeline):
    (found,) = ours(klein, (32, 64), 4.0, negative_prompt="young")
    np.testing.assert_array_equal(found, theirs(pipeline, (32, 64), 4.0, negative="young"))
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


def test_the_text_is_that_of_the_whole_encoder(klein, pipeline):
    """Layers behind the last one that is read are not loaded."""
    found = klein.text(["old", "a", "old"])
    assert len(klein.pipeline.text_encoder.layers) == 27
    expected, _ = pipeline.encode_prompt(["old", "a", "old"], max_sequence_length=LENGTH)
    torch.testing.assert_close(found.tokens, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.of(["a"]).tokens, expected[1:2], rtol=1e-5, atol=1e-6)


def test_prompts_are_encoded_once(klein, monkeypatch):
    klein.text(["known"])
    monkeypatch.setattr(klein.pipeline, "encode_prompt", None)
    assert klein.text(["known", "known"]).prompts == ("known", "known")


def test_encoding_is_the_pipelines(klein, pipeline):
    images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = klein.encode(images)
    with torch.no_grad():
        expected = pipeline._encode_vae_image(images, None)
    torch.testing.assert_close(found.mean, expected)
    assert found.mean.shape == (2, *klein.latent_shape((32, 64)))
    posterior = klein.pipeline.vae.encode(images).latent_dist
    scale = torch.sqrt(klein.pipeline.vae.bn.running_var + 1e-4)[None, :, None, None]
    torch.testing.assert_close(found.std * scale, patchify(posterior.std))


def test_patches_come_back(pipeline):
    latents = torch.randn(2, 4, 6, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(patchify(latents), pipeline._patchify_latents(latents))
    assert torch.equal(unpatchify(patchify(latents)), latents)


@pytest.mark.parametrize("targets", ["attention", "attention_mlp"])
def test_our_lora_in_plain_diffusers_gives_our_image(klein, folder, tmp_path, targets):
    from diffusers import Flux2KleinPipeline

    lora = random_lora(klein, tmp_path / "semantic.safetensors", targets=targets, sigma=0.3)
    (zero, on) = ours(klein, (32, 32), 4.0, [Slider(lora=lora, scales=(0.0, 1.0))])
    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    np.testing.assert_array_equal(zero, theirs(pipeline, (32, 32), 4.0))
    pipeline.load_lora_weights(lora.path)
    expected = theirs(pipeline, (32, 32), 4.0)
    assert (on != zero).any()
    # Sums in another order: at most a grey level beside it.
    assert np.abs(on.astype(int) - expected.astype(int)).max() <= 1


def test_round_trips_of_every_layout(klein, tmp_path):
    lora = random_lora(klein, tmp_path / "semantic.safetensors", targets="attention_mlp")
    for layout in ("diffusers", "kohya"):
        path = tmp_path / f"{layout}.safetensors"
        write_lora(path, lora.weights, {}, layout, klein.names)
        assert_same_edit(read_lora(path, klein.names), lora)
    keys = load_file(tmp_path / "kohya.safetensors")
    assert "lora_unet_single_blocks_1_linear1.lora_down.weight" in keys


def test_plain_diffusers_reads_the_kohya_file(klein, folder, tmp_path):
    from diffusers import Flux2KleinPipeline

    lora = random_lora(klein, tmp_path / "semantic.safetensors", sigma=0.3)
    path = tmp_path / "kohya.safetensors"
    write_lora(path, lora.weights, {}, "kohya", klein.names)
    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(path)
    (on,) = ours(klein, (32, 32), 4.0, [Slider(lora=lora, scales=(1.0,))])
    expected = theirs(pipeline, (32, 32), 4.0)
    assert np.abs(on.astype(int) - expected.astype(int)).max() <= 1


def in_the_originals_names(base, lora, path, prefix="diffusion_model."):
    """Write a LoRA as other programs do: query, key and value below each other, of one A."""
    tensors = {}
    for name, part in base.names.group(lora.weights).items():
        down = lora.weights[part.modules[0]][0]
        up = torch.cat([lora.weights[module][1] for module in part.modules])
        tensors |= {
            f"{prefix}{name}.lora_A.weight": down.clone(),
            f"{prefix}{name}.lora_B.weight": up,
        }
    save_file(tensors, path)
    return tensors


@pytest.mark.parametrize("targets", ["attention", "attention_mlp"])
def test_the_originals_names_are_read_as_diffusers_reads_them(klein, folder, tmp_path, targets):
    from diffusers import Flux2KleinPipeline

    own = random_lora(klein, tmp_path / "semantic.safetensors", targets=targets, sigma=0.3)
    path = tmp_path / "original.safetensors"
    names = in_the_originals_names(klein, own, path)
    assert "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight" in names
    assert "diffusion_model.single_blocks.1.linear1.lora_B.weight" in names
    lora = read_lora(path, klein.names)
    assert set(lora.weights) == set(own.weights)
    (on,) = ours(klein, (32, 32), 4.0, [Slider(lora=lora, scales=(1.0,))])
    pipeline = Flux2KleinPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(path)
    expected = theirs(pipeline, (32, 32), 4.0)
    assert (on != ours(klein, (32, 32), 4.0)[0]).any()
    assert np.abs(on.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "base_model.model.", ""])
def test_the_originals_names_are_read_behind_any_prefix(klein, tmp_path, prefix):
    own = random_lora(klein, tmp_path / "semantic.safetensors", targets="attention_mlp")
    paths = [tmp_path / "plain.safetensors", tmp_path / "other.safetensors"]
    for path, name in zip(paths, ["diffusion_model.", prefix], strict=True):
        in_the_originals_names(klein, own, path, name)
    assert_same_edit(*(read_lora(path, klein.names) for path in paths))


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
def test_blocks_that_run_again_give_the_same_gradients(folder, klein, share):
    plain = gradients(klein, True)
    other = open_klein(folder, Hardware(gradient_checkpointing=share))
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
    klein, folder, precision, library
):
    (full,) = ours(klein, (32, 32), 4.0)
    few = open_klein(folder, Hardware(precision=precision))
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


def test_the_page_for_comfyui_has_the_steps_of_the_usual_level(klein):
    page = Path(__file__).parents[2].joinpath("docs/comfyui.md").read_text()
    cells = r"\| (\d+) x \d+ \| (\d+) \| (\d+) \| (\d+) \|$"
    rows = re.findall(r"^\| `flux2-klein`.* " + cells, page, re.M)
    assert len(rows) == 3
    for side, *written in rows:
        grids = [klein.sigmas((int(side), int(side)), steps) for steps in (20, 28, 50)]
        assert [str(step_of(0.75, grid)) for grid in grids] == written, side


def test_the_levels_that_training_draws_from(klein):
    sigmas = klein.sigmas((512, 512), 50)
    training = Training(num_inference_steps=50, start_step=0.9, end_step=49)
    drawn = sigmas[list(training.drawn(sigmas))]
    assert float(drawn[0]) == pytest.approx(0.9, abs=0.01)
    share = float((drawn > 0.8).float().mean())
    assert share == pytest.approx(0.32, abs=0.05), "as on FLUX.1's grid"
    whole = Training(num_inference_steps=50, end_step=49)
    assert whole.drawn(sigmas) == range(50)
    early = Training(num_inference_steps=50, start_step=0.5, end_step=10)
    with pytest.raises(ValueError, match=r"start_step=0\.5: is step \d+ here, behind end_step=10"):
        early.drawn(sigmas)


@pytest.fixture
def tiny_overrides():
    """Words that every command here ends with."""
    return ["resolution=32", "num_inference_steps=4", "device=cpu"]


@pytest.fixture
def run(command, folder):
    """Run a command on the tiny klein, unless told another path."""
    own = [f"model.path={folder}", f"model.max_sequence_length={LENGTH}"]
    return lambda name, *words: command(name, *own, *words)


@pytest.mark.parametrize("method", ["full", "sliders"])
def test_a_slider_is_trained_rendered_and_exported(run, export, pair_folder, tmp_path, method):
    code, _, err = run(
        "train",
        "model=flux2-klein",
        f"method={method}",
        "dataset=folder",
        f"pairs={pair_folder}",
        "steps=2",
        "lora.rank=2",
        "report=false",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert not code, err
    path = tmp_path / f"run/{pair_folder.name}/semantic.safetensors"
    lora = read_lora(path)
    assert lora.metadata["slider_passes"] == "prompt and negative prompt"
    assert lora.metadata["config"]["learning_rate"] == 0.001
    place = f"hydra.run.dir={tmp_path / 'images'}"
    code, _, err = run(
        "gen", "model=flux2-klein", f"lora={path}", "scales=[0,1]", "seeds=[1]",
        "negative_prompt=blurry", place,
    )  # fmt: skip
    assert not code, err
    assert len(list((tmp_path / "images/images").iterdir())) == 2
    code, _, err = export(f"lora={path}", "layout=kohya", f"out={tmp_path / 'k.safetensors'}")
    assert not code, err
    assert any("single_blocks_1_linear1" in key for key in load_file(tmp_path / "k.safetensors"))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("flux-dev", "holds a Flux2KleinPipeline, which model=flux-dev cannot read; expected "
         "model=flux2-klein or flux2-klein-9b or flux2-klein-fast with it"),
        ("flux2-klein-fast", "this model is not distilled; expected the model flux2-klein"),
    ],
)  # fmt: skip
def test_a_folder_of_another_kind_is_refused_with_the_right_model(run, model, reason):
    code, _, err = run("gen", f"model={model}")
    assert code
    assert reason in err


def test_a_flux1_is_no_klein(run, tiny_flux_folder):
    code, _, err = run("gen", "model=flux2-klein", f"model.path={tiny_flux_folder}")
    assert code
    assert "holds a FluxPipeline, which model=flux2-klein cannot read; expected model=" in err


def test_a_distilled_one_renders_and_does_not_train(run, folder, pair_folder, tmp_path):
    fast = shutil.copytree(folder, tmp_path / "fast")
    index = fast / "model_index.json"
    index.write_text(index.read_text().replace('"is_distilled": false', '"is_distilled": true'))
    words = ["model=flux2-klein-fast", f"model.path={fast}"]
    pairs = ["dataset=folder", f"pairs={pair_folder}"]
    code, _, err = run("train", *words, *pairs)
    assert code
    assert "model=flux2-klein-fast: is for rendering; train on model=flux2-klein" in err
    code, _, err = run("gen", *words, "seeds=[1]", f"hydra.run.dir={tmp_path / 'images'}")
    assert not code, err
    code, _, err = run("gen", "model=flux2-klein", f"model.path={fast}")
    assert code
    assert "this model is distilled; expected the model flux2-klein-fast" in err

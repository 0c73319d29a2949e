"""The model that ships with pairedit is what the documentation says it is."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from pairedit.bases.flux1.flux import load
from pairedit.data.images import to_tensor
from pairedit.files import locate
from pairedit.lora.file import read_lora
from pairedit.mini.faces import ATTRIBUTES, INDEX, describe, render, sample_attributes
from pairedit.mini.probe import read
from pairedit.sample import Slider, generate

FOLDER = locate("pkg://flux_mini")
HELD_OUT = 20_000_000  # the training script draws its faces from smaller seeds
COMMON = {"num_inference_steps": 28, "guidance_scale": 3.5, "resolution": 128}


@pytest.fixture
def mini():
    return load(str(FOLDER), device="cpu", precision="float32", max_sequence_length=32)


@pytest.fixture(scope="module")
def unseen() -> tuple[torch.Tensor, torch.Tensor]:
    """Attributes and images in [-1, 1] of faces that no training saw."""
    attributes = sample_attributes(24, torch.Generator().manual_seed(HELD_OUT))
    images = (render(attributes) * 255).round() / 127.5 - 1
    return attributes.float(), images.float()


def test_the_autoencoder_reconstructs_unseen_faces_above_32_db(mini, unseen):
    _, images = unseen
    decoded = mini.decode(mini.encode(images).mean).clamp(-1, 1)
    error = ((decoded - images) / 2).square().mean((1, 2, 3))
    assert float((-10 * torch.log10(error)).mean()) > 32


def test_the_probe_reads_unseen_faces(unseen):
    attributes, images = unseen
    error = (read(images) - attributes).abs().mean(0)
    for name in ("smile", "age", "glasses", "beard", "tilt", "mouth_open"):
        assert float(error[INDEX[name]]) < 0.07, name


def test_the_probe_refuses_other_sizes():
    with pytest.raises(ValueError, match="expected"):
        read(torch.zeros(1, 3, 64, 64))


@pytest.mark.slow
def test_prompts_are_obeyed(mini):
    prompts = ["image of a person", "image of a person, with glasses"]
    samples = generate(
        mini, sliders=[], prompts=prompts, seeds=range(900, 912), skip=0, **COMMON
    )  # fmt: skip
    values = read(torch.stack([to_tensor(sample.image) for sample in samples]))
    without, asked = values[:, INDEX["glasses"]].unflatten(0, (2, 12)).mean(1)
    assert float(asked) > 0.8
    assert float(without) < 0.35


@pytest.mark.slow
def test_sixty_steps_raise_the_smile(mini, smile):
    samples = list(
        generate(
            mini,
            sliders=[Slider(lora=read_lora(smile), scales=(0.0, 1.0))],
            prompts=["image of a person"],
            seeds=range(12),
            skip=11,
            **COMMON,
        )
    )
    values = read(torch.stack([to_tensor(sample.image) for sample in samples]))
    before, after = values.unflatten(0, (12, 2))[..., INDEX["smile"]].mean(0)
    assert float(after - before) > 0.1


@pytest.mark.slow
def test_plain_diffusers_opens_the_folder_and_the_slider(mini, smile):
    (sample,) = generate(
        mini,
        sliders=[Slider(lora=read_lora(smile), scales=(0.5,))],
        prompts=["image of a person"],
        seeds=[5],
        skip=0,
        **COMMON,
    )
    pipeline = FluxPipeline.from_pretrained(FOLDER)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(smile.parent), weight_name=smile.name)
    image = pipeline(
        "image of a person",
        height=128,
        width=128,
        num_inference_steps=28,
        guidance_scale=3.5,
        max_sequence_length=32,
        generator=torch.Generator().manual_seed(5),
        joint_attention_kwargs={"scale": 0.5},
    ).images[0]
    difference = np.asarray(image).astype(int) - np.asarray(sample.image).astype(int)
    assert abs(difference).max() <= 1


def test_the_weights_fit_into_a_package():
    size = sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors"))
    assert size <= 48e6


def test_the_shipped_pairs_are_what_the_renderer_draws():
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "render_data.py"))
    from PIL import Image

    for path, image in script["pictures"]().items():
        assert Image.open(script["DATA"] / path).tobytes() == image.tobytes(), path


def test_faces_are_drawn_alike_one_by_one_and_together():
    people = sample_attributes(3, torch.Generator().manual_seed(1))
    together = render(people, size=32)
    assert torch.equal(together[1:2], render(people[1:2], size=32))
    assert together.shape == (3, 3, 32, 32)
    assert 0 <= float(together.min()) < float(together.max()) <= 1


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_shows(name):
    people = sample_attributes(1, torch.Generator().manual_seed(3)).repeat(2, 1)
    people[:, INDEX["age"]] = 0.1
    people[:, INDEX["hair_length"]] = 0.1
    people[:, INDEX[name]] = torch.tensor([0.0, 1.0], dtype=people.dtype)
    low, high = render(people, size=64)
    assert float((low - high).abs().mean()) > 2e-4


def test_bad_attributes_are_refused():
    people = sample_attributes(1, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="expected"):
        render(people[:, :5])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        render(people + 1)


def test_a_face_is_described_in_the_models_words():
    face = torch.full((len(ATTRIBUTES),), 0.5, dtype=torch.float64)
    face[INDEX["age"]], face[INDEX["glasses"]] = 0.9, 1.0
    assert describe(face).startswith("image of a person, old, with glasses")

"""The model that ships with pairedit is what the documentation says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from pairedit.data.images import to_tensor
from pairedit.files import locate
from pairedit.lora.file import read_lora
from pairedit.mini.faces import INDEX
from pairedit.mini.probe import read
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering

FOLDER = locate("pkg://flux_mini")
COMMON = {"num_inference_steps": 12, "guidance_scale": 3.5, "size": (128, 128)}


def test_the_autoencoder_reconstructs_unseen_faces_above_32_db(mini, unseen):
    _, images = unseen
    images = images[:4]
    decoded = mini.decode(mini.encode(images).mean).clamp(-1, 1)
    error = ((decoded - images) / 2).square().mean((1, 2, 3))
    assert float((-10 * torch.log10(error)).mean()) > 32


@pytest.mark.heavy
def test_prompts_are_obeyed(mini):
    prompts = ["image of a person", "image of a person, with glasses"]
    samples = generate(
        mini,
        sliders=[],
        prompts=prompts,
        seeds=range(900, 912),
        rendering=Rendering(skip=0, **COMMON),
    )
    values = read(torch.stack([to_tensor(sample.image) for sample in samples]))
    without, asked = values[:, INDEX["glasses"]].unflatten(0, (2, 12)).mean(1)
    assert float(asked) > 0.8
    assert float(without) < 0.35


def test_thirty_steps_raise_the_smile(mini, smile):
    samples = list(
        generate(
            mini,
            sliders=[Slider(lora=read_lora(smile), scales=(0.0, 1.0))],
            prompts=["image of a person"],
            seeds=range(4, 8),
            rendering=Rendering(skip=4, **COMMON),
        )
    )
    values = read(torch.stack([to_tensor(sample.image) for sample in samples]))
    before, after = values.unflatten(0, (4, 2))[..., INDEX["smile"]].mean(0)
    assert float(after - before) > 0.1


def test_plain_diffusers_opens_the_folder_and_the_slider(mini, smile):
    (sample,) = generate(
        mini,
        sliders=[Slider(lora=read_lora(smile), scales=(0.5,))],
        prompts=["image of a person"],
        seeds=[5],
        rendering=Rendering(skip=0, **COMMON),
    )
    pipeline = FluxPipeline.from_pretrained(FOLDER)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(smile.parent), weight_name=smile.name)
    image = pipeline(
        "image of a person",
        height=128,
        width=128,
        num_inference_steps=COMMON["num_inference_steps"],
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

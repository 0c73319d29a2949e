"""Z-Image's LoRA files: every layout and prefix is read as diffusers and ComfyUI read it."""

import pytest
import torch

from pairedit.bases.z_image.names import NAMES
from pairedit.lora.file import read_lora, write_lora
from pairedit.lora.layouts import to_tensors
from pairedit.sample import Slider
from tiny import assert_same_edit, random_lora
from tiny_z_image import PROMPTS, apart, drawn, ours


@pytest.mark.parametrize("targets", ["attention", "attention_mlp"])
def test_our_file_in_plain_diffusers_draws_our_image(z_image, z_image_pipeline, tmp_path, targets):
    lora = random_lora(z_image, tmp_path / "x.safetensors", targets)
    sliders = [Slider(lora=lora, scales=(0.7,))]
    ((expected, _),) = ours(z_image, PROMPTS[:1], guidance_scale=2.0, sliders=sliders).values()
    z_image_pipeline.load_lora_weights(str(tmp_path), weight_name=lora.path.name)
    try:
        scale = {"joint_attention_kwargs": {"scale": 0.7}}
        found = drawn(z_image_pipeline, PROMPTS[0], guidance_scale=2.0, **scale)
    finally:
        z_image_pipeline.unload_lora_weights()
    assert apart(found, expected) <= 1e-5
    assert apart(drawn(z_image_pipeline, PROMPTS[0], guidance_scale=2.0), expected) > 0.1


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_a_round_trip_keeps_the_edit(z_image, tmp_path, layout):
    lora = random_lora(z_image, tmp_path / "x.safetensors", [r".*"], (3, 2))
    assert len(lora.weights) == len(NAMES.modules([1, 1, 2]))
    path = tmp_path / "back.safetensors"
    write_lora(path, lora.weights, lora.metadata, layout, NAMES)
    assert_same_edit(lora, read_lora(path, NAMES))


def test_one_matrix_of_the_original_holds_query_key_and_value_in_this_order(z_image, tmp_path):
    """ComfyUI takes its rows apart in this order."""
    lora = random_lora(z_image, tmp_path / "x.safetensors", "attention", (2,))
    stacked = to_tensors(lora.weights, "kohya", NAMES)
    stem = "lora_unet_layers_1_attention_qkv.lora_"
    whole = stacked[stem + "up.weight"] @ stacked[stem + "down.weight"]
    parts = [lora.weights[f"layers.1.attention.to_{part}"] for part in "qkv"]
    torch.testing.assert_close(whole, torch.cat([up @ down for down, up in parts]))


@pytest.mark.parametrize("prefix", ["diffusion_model.", "transformer.", "base_model.model.", ""])
def test_a_file_of_comfyui_is_read_by_any_of_its_prefixes(z_image, tmp_path, prefix):
    from safetensors.torch import load_file, save_file

    lora = random_lora(z_image, tmp_path / "x.safetensors", "attention_mlp")
    tensors = load_file(lora.path)
    named = {prefix + key.removeprefix("transformer."): value for key, value in tensors.items()}
    save_file(named, tmp_path / "other.safetensors")
    assert_same_edit(lora, read_lora(tmp_path / "other.safetensors", NAMES))

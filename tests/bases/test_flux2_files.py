"""FLUX.2 klein's LoRA files: every layout and name is read as diffusers reads it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from klein import ours, theirs
from pairedit.lora.file import read_lora, write_lora
from pairedit.sample import Slider
from tiny import assert_same_edit, random_lora


@pytest.mark.parametrize("targets", ["attention", "attention_mlp"])
def test_our_lora_in_plain_diffusers_gives_our_image(klein, klein_folder, tmp_path, targets):
    from diffusers import Flux2KleinPipeline

    lora = random_lora(klein, tmp_path / "semantic.safetensors", targets=targets, sigma=0.3)
    (zero, on) = ours(klein, (32, 32), 4.0, [Slider(lora=lora, scales=(0.0, 1.0))])
    pipeline = Flux2KleinPipeline.from_pretrained(klein_folder)
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


def test_plain_diffusers_reads_the_kohya_file(klein, klein_folder, tmp_path):
    from diffusers import Flux2KleinPipeline

    lora = random_lora(klein, tmp_path / "semantic.safetensors", sigma=0.3)
    path = tmp_path / "kohya.safetensors"
    write_lora(path, lora.weights, {}, "kohya", klein.names)
    pipeline = Flux2KleinPipeline.from_pretrained(klein_folder)
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
def test_the_originals_names_are_read_as_diffusers_reads_them(
    klein, klein_folder, tmp_path, targets
):
    from diffusers import Flux2KleinPipeline

    own = random_lora(klein, tmp_path / "semantic.safetensors", targets=targets, sigma=0.3)
    path = tmp_path / "original.safetensors"
    names = in_the_originals_names(klein, own, path)
    assert "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight" in names
    assert "diffusion_model.single_blocks.1.linear1.lora_B.weight" in names
    lora = read_lora(path, klein.names)
    assert set(lora.weights) == set(own.weights)
    (on,) = ours(klein, (32, 32), 4.0, [Slider(lora=lora, scales=(1.0,))])
    pipeline = Flux2KleinPipeline.from_pretrained(klein_folder)
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

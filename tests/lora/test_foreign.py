"""LoRA files of other programs become the edit that they are; `-s` prints the table.

Every layout is written as its program writes it, at FLUX.1's width and with one block of each
kind. Each is compared with the product it was made from, and with what diffusers makes of it.
"""

import logging
import warnings

import pytest
import torch
from diffusers import FluxPipeline
from foreign import (
    KOHYA,
    LAYOUTS,
    File,
    bare,
    blocks,
    comfy_saved,
    keys,
    parts,
    sd_scripts,
    slim_flux,
    with_clip,
)
from safetensors.torch import save_file

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import inspect_lora, read_lora


@pytest.fixture(scope="module")
def sizes():
    """Name every linear module of FLUX.1: (in, out)."""
    return {
        name: (module.in_features, module.out_features)
        for name, module in slim_flux().named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def by_diffusers(path):
    """Load a file as diffusers does; {module: (A, B)} and {module: b}, with all scales in B."""
    state, alphas, metadata = FluxPipeline.lora_state_dict(
        str(path.parent), weight_name=path.name, return_alphas=True, return_lora_metadata=True
    )
    state = {k: v for k, v in state.items() if not k.startswith("text_encoder")}
    # Its converter leaves this prefix out for what is in no block, and those keys are then lost.
    state = {k if k.startswith("transformer.") else f"transformer.{k}": v for k, v in state.items()}
    transformer = slim_flux()
    with warnings.catch_warnings():
        # Of proj_out peft expects LoRAs in every block as well.
        warnings.filterwarnings("ignore", "While injecting", RuntimeWarning)
        FluxPipeline.load_lora_into_transformer(
            state,
            network_alphas=alphas,
            transformer=transformer,
            metadata=metadata,
            adapter_name="x",
            low_cpu_mem_usage=True,
        )
    layers = {
        name: layer
        for name, layer in transformer.named_modules()
        if hasattr(layer, "lora_A") and "x" in layer.lora_A
    }
    weights = {
        name: (
            layer.lora_A["x"].weight.detach().double(),
            layer.lora_B["x"].weight.detach().double() * layer.scaling["x"],
        )
        for name, layer in layers.items()
    }
    biases = {
        name: layer.lora_B["x"].bias.detach().double() * layer.scaling["x"]
        for name, layer in layers.items()
        if layer.lora_B["x"].bias is not None
    }
    return weights, biases


def norm(down, up):
    """Return the Frobenius norm of B A without multiplying it out."""
    return ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt()


def largest_difference(one, other):
    """Return the largest relative difference of any module's edit."""
    held = [{m: w for m, w in side.items() if norm(*w) > 0} for side in (one, other)]
    assert set(held[0]) == set(held[1])
    worst = 0.0
    for module, (down, up) in held[0].items():
        other_down, other_up = held[1][module]
        down, up = down.double(), up.double()
        apart = norm(
            torch.cat([down, other_down.double()]), torch.cat([up, -other_up.double()], dim=1)
        )
        worst = max(worst, float(apart / norm(down, up)))
    return worst


def farthest_bias(one, other):
    """Return the largest relative difference of any module's bias."""
    assert set(one) == set(other)
    apart = ((bias.double() - other[m].double()).norm() / bias.norm() for m, bias in one.items())
    return max(map(float, apart), default=0.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_of_another_program_is_the_edit_that_it_was(layout, sizes, tmp_path, caplog):
    make, theirs = LAYOUTS[layout]
    file = File(sizes)
    make(file)
    path = file.save(tmp_path)
    inspect_lora(path, NAMES)
    lora = read_lora(path, NAMES)
    ours = lora.weights
    apart = max(largest_difference(file.truth, ours), farthest_bias(file.biases, lora.biases))
    line = f"{layout:38} {len(ours):3} modules  pairedit {apart:.1e}"
    assert apart < 1e-6
    if theirs:
        weights, biases = by_diffusers(path)
        both = largest_difference(weights, ours)
        if layout == "diffusers, biases":
            both = max(both, farthest_bias(biases, lora.biases))
        line += f"  against diffusers {both:.1e}"
        assert both < 1e-6
    print(line)


@pytest.mark.parametrize(
    "kind",
    [
        *(torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float64),
        *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64),
    ],
)
def test_small_numbers_are_read_as_they_stand(kind, sizes, tmp_path):
    for make in (bare, comfy_saved):
        file = File(sizes, kind)
        make(file)
        path = file.save(tmp_path)
        inspect_lora(path, NAMES)
        lora = read_lora(path, NAMES)
        assert largest_difference(file.truth, lora.weights) < 1e-6
        assert farthest_bias(file.biases, lora.biases) < 1e-6


def test_what_is_left_out_is_counted(sizes, tmp_path, caplog):
    file = File(sizes)
    with_clip(file)
    file.tensors |= {f"text_encoder_2.a.{i}.lora_A.weight": torch.ones(1, 1) for i in range(4)}
    file.tensors["lora_unet_double_blocks_0_img_norm.diff_b"] = torch.ones(3072)
    file.tensors["lora_unet_double_blocks_0_img_norm.diff"] = torch.ones(3072)
    path = file.save(tmp_path)
    with caplog.at_level(logging.WARNING):
        lora = read_lora(path, NAMES)
    assert len(lora.weights) == 20
    (line,) = caplog.messages
    assert line == (
        f"{path}: LoRAs of 20 modules; left out: 7 of text encoders, 1 that change norms, "
        "1 that change other biases"
    )
    only = {k: v for k, v in file.tensors.items() if k.startswith("lora_te1_")}
    save_file(only, path)
    with pytest.raises(ValueError, match="no LoRA of the transformer, only tensors 3 of text enc"):
        inspect_lora(path, NAMES)


def test_a_lora_that_stands_there_twice_counts_once(sizes, tmp_path, caplog):
    """As diffusers: the keys with the model's own names are used."""
    file = File(sizes)
    sd_scripts(file)
    for module in blocks(sizes):
        file.own(module, keys("transformer.", ends=KOHYA))
    path = file.save(tmp_path)
    with caplog.at_level(logging.WARNING):
        ours = read_lora(path, NAMES).weights
    assert largest_difference(file.truth, ours) < 1e-6
    assert f"left out: {3 * len(parts())} that stand there twice" in caplog.text
    again = {k.replace("transformer.", "", 1): v.clone() for k, v in file.tensors.items()}
    file.tensors |= again
    with pytest.raises(ValueError, match="are two LoRAs of one module"):
        read_lora(file.save(tmp_path), NAMES)


def test_modules_outside_the_blocks_act_where_the_model_has_them(flux, tmp_path):
    from pairedit.lora.adapters import Adapters

    linears = dict(flux.transformer.named_modules())
    tensors = {}
    for name, module in (("img_in", "x_embedder"), ("final_layer_linear", "proj_out")):
        layer = linears[module]
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.ones(1, layer.in_features)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.ones(layer.out_features, 1)
    save_file(tensors, tmp_path / "x.safetensors")
    adapters = Adapters(flux)
    assert adapters.load("x", read_lora(tmp_path / "x.safetensors", NAMES)) == 2
    assert set(adapters.weights("x")) == {"x_embedder", "proj_out"}
    adapters.remove()

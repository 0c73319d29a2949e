"""LoRAs that add biases: read, rendered by every path and written as diffusers and ComfyUI do."""

import copy
import warnings

import pytest
import torch
from diffusers import FluxPipeline
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from pairedit.bases.base import velocity
from pairedit.bases.flux1.names import NAMES
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import inspect_lora, read_lora, write_lora
from pairedit.lora.rows import Row
from pairedit.machine.hardware import Hardware
from tiny import open_flux

TO_Q = "transformer_blocks.0.attn.to_q"
NORM = "transformer_blocks.1.norm1.linear"
WIDE = "single_transformer_blocks.0"


def theirs(flux):
    """Give diffusers' transformer a LoRA with biases, as peft makes it; alpha is twice the rank."""
    transformer = copy.deepcopy(flux.transformer)
    targets = ["to_q", "to_out.0", "proj_mlp", "norm1.linear", "ff.net.2", "add_k_proj"]
    config = LoraConfig(r=2, lora_alpha=4, target_modules=targets, lora_bias=True)
    transformer.add_adapter(config, adapter_name="x")
    torch.manual_seed(7)
    for name, weight in transformer.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape) * 0.3
    return transformer


def saved(transformer, folder):
    from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    with warnings.catch_warnings():
        # Of vectors under a LoRA's names, which biases are.
        warnings.filterwarnings("ignore", ".*have invalid shape")
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(transformer, None, "x"))
    config = transformer.peft_config["x"].to_dict()
    config["target_modules"] = list(config["target_modules"])
    kept = {key: config[key] for key in ("r", "lora_alpha", "target_modules", "lora_bias")}
    FluxPipeline.save_lora_weights(
        folder, transformer_lora_layers=layers, transformer_lora_adapter_metadata=kept
    )
    return folder / "pytorch_lora_weights.safetensors"


def drawn(base, lora, scales):
    """Return the velocity of a batch, one scale for each row."""
    text = base.text(["a person"] * len(scales))
    size = (32, 32)
    latents = torch.stack([base.noise(0, size)] * len(scales)) if scales else None
    adapters = Adapters(base)
    adapters.load("x", lora)
    try:
        with torch.no_grad(), adapters.rows([Row(scales={"x": scale}) for scale in scales]):
            return velocity(base, latents, base.sigmas(size, 4)[1], text, 3.5)
    finally:
        adapters.remove()


def test_biases_act_as_in_diffusers(flux, tmp_path):
    transformer = theirs(flux)
    path = saved(transformer, tmp_path)
    assert any(key.endswith("lora_B.bias") for key in load_file(path))
    inspect_lora(path, NAMES)
    lora = read_lora(path, NAMES)
    assert set(lora.biases) == set(lora.weights)
    layer = dict(transformer.named_modules())[TO_Q]
    torch.testing.assert_close(lora.biases[TO_Q], 2 * layer.lora_B["x"].bias.detach())
    ours = drawn(flux, lora, [0.0, 0.7])
    other = copy.copy(flux)
    for row, scale in enumerate((0.0, 0.7)):
        transformer.set_adapters(["x"], [scale])
        other.transformer = transformer
        with torch.no_grad():
            text, size = flux.text(["a person"]), (32, 32)
            expected = velocity(
                other, flux.noise(0, size)[None], flux.sigmas(size, 4)[1], text, 3.5
            )
        torch.testing.assert_close(ours[row], expected[0], rtol=1e-5, atol=1e-5)
    assert (ours[1] - ours[0]).norm() > 0.1 * ours[0].norm()


def test_every_path_adds_them(flux, tiny_flux_folder, tmp_path):
    """Row by row, and stacked with modulations in tables; some of the LoRAs have none."""
    lora = read_lora(saved(theirs(flux), tmp_path), NAMES)
    assert NORM in lora.biases
    del lora.biases[TO_Q]
    plain = drawn(flux, lora, [0.0, 0.5, -1.0])
    fused = open_flux(tiny_flux_folder, Hardware(fused=True))
    base_text = fused.text(["a person"] * 3)
    fused.prepare(fused.sigmas((32, 32), 4), base_text, 3.5)
    torch.testing.assert_close(drawn(fused, lora, [0.0, 0.5, -1.0]), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_an_export_keeps_them(layout, flux, tmp_path):
    lora = read_lora(saved(theirs(flux), tmp_path), NAMES)
    del lora.biases[TO_Q]
    path = tmp_path / "again.safetensors"
    write_lora(path, lora.weights, {}, layout, NAMES, biases=lora.biases)
    inspect_lora(path, NAMES)
    again = read_lora(path, NAMES)
    assert set(again.biases) == set(lora.biases)
    for module, bias in lora.biases.items():
        torch.testing.assert_close(again.biases[module], bias)
    torch.testing.assert_close(drawn(flux, again, [1.0]), drawn(flux, lora, [1.0]))
    keys = set(load_file(path))
    if layout == "diffusers":
        # peft reads biases of all modules or of none.
        stems = {key.removesuffix(".lora_B.weight") for key in keys if key.endswith("B.weight")}
        assert {f"{stem}.lora_B.bias" for stem in stems} <= keys


def test_a_bias_without_a_lora_is_added_as_comfyui_adds_it(flux, tmp_path, caplog):
    """diff_b counts with the strength alone, whatever alpha says, and may stand by itself."""
    width = 32
    tensors = {
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.zeros(2, width),
        "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.zeros(3 * width, 2),
        "lora_unet_double_blocks_0_img_attn_qkv.alpha": torch.tensor(8.0),
        "lora_unet_double_blocks_0_img_attn_qkv.diff_b": torch.arange(3.0 * width),
        "lora_unet_double_blocks_1_img_attn_proj.lora_down.weight": torch.ones(2, width),
        "lora_unet_double_blocks_1_img_attn_proj.lora_up.weight": torch.ones(width, 2),
        "lora_unet_single_blocks_0_linear1.diff_b": torch.ones(7 * width),
        "lora_unet_double_blocks_0_img_norm.diff_b": torch.ones(width),
    }
    width_of_model = dict(flux.transformer.named_modules())[TO_Q].in_features
    assert width_of_model == width
    save_file(tensors, tmp_path / "x.safetensors")
    lora = read_lora(tmp_path / "x.safetensors", NAMES)
    assert "left out: 1 that change other biases" in caplog.text
    attention = [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"]
    single = [f"{WIDE}.{name}" for name in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
    assert set(lora.biases) == {*attention, *single}
    assert torch.equal(torch.cat([lora.biases[m] for m in attention]), torch.arange(3.0 * width))
    changed = copy.copy(flux)
    changed.transformer = copy.deepcopy(flux.transformer)
    linears = dict(changed.transformer.named_modules())
    for module, bias in lora.biases.items():
        linears[module].bias.data += 0.5 * bias
    down, up = lora.weights["transformer_blocks.1.attn.to_out.0"]
    linears["transformer_blocks.1.attn.to_out.0"].weight.data += 0.5 * up @ down
    with torch.no_grad():
        text, size = flux.text(["a person"]), (32, 32)
        expected = velocity(changed, flux.noise(0, size)[None], flux.sigmas(size, 4)[1], text, 3.5)
    torch.testing.assert_close(drawn(flux, lora, [0.5]), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"no place for a bias without a LoRA.* layout=kohya"):
        write_lora(tmp_path / "y.safetensors", lora.weights, {}, biases=lora.biases)
    with pytest.raises(ValueError, match="reads no biases"):
        write_lora(tmp_path / "y.pt", read_only(lora), {}, "published", NAMES, biases=lora.biases)


def read_only(lora):
    return {m: w for m, w in lora.weights.items() if "attn" in m}


BIAS = torch.ones(8)
STEM = f"transformer.{TO_Q}"
ONE = {f"{STEM}.lora_A.weight": torch.ones(2, 8), f"{STEM}.lora_B.weight": torch.ones(8, 2)}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{STEM}.lora_B.bias": torch.ones(7)}, "lora_B.bias has shape [7], expected [8]"),
        ({f"{STEM}.lora_up.bias": BIAS}, "lora_up.bias has no partner"),
        ({f"{STEM}.lora_A.bias": torch.ones(2)}, "whose first matrix has a bias"),
        (
            {"lora_unet_double_blocks_0_img_attn_qkv.diff_b": torch.ones(8)},
            "8 rows of transformer_blocks.0.attn.to_q",
        ),
    ],
)
def test_biases_that_do_not_belong_are_refused(tensors, said, tmp_path):
    save_file(ONE | tensors, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: ") as refused:
        inspect_lora(tmp_path / "x.safetensors", NAMES)
    assert said in str(refused.value)
    assert "probably written by diffusers" in str(refused.value) or "sd-scripts" in str(
        refused.value
    )


def test_a_bias_that_does_not_fit_the_model_is_told(flux, tmp_path):
    lora = read_lora(saved(theirs(flux), tmp_path), NAMES)
    lora.biases[TO_Q] = torch.ones(5)
    adapters = Adapters(flux)
    with pytest.raises(ValueError, match=f"the bias of {TO_Q} has 5 numbers, the model 32"):
        adapters.load("x", lora)


def test_a_merged_file_adds_biases_up_and_a_new_training_says_that_it_has_none(flux, tmp_path):
    from pairedit.jobs.export import _added
    from pairedit.lora.starting import start_from

    lora = read_lora(saved(theirs(flux), tmp_path), NAMES)
    added = _added([(lora, 0.5), (lora, -2.0)])
    assert set(added) == set(lora.biases)
    torch.testing.assert_close(added[TO_Q], -1.5 * lora.biases[TO_Q])
    weights = [part.clone() for part in lora.weights[TO_Q]]
    start = start_from(lora, [TO_Q], weights, 1.0)
    assert "its 14 biases are left out" in start.text(2)

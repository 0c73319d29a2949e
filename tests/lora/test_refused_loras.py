"""Files that hold no LoRA of ours to use are refused, with their program and a way out."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import read_lora

STEM = "transformer.transformer_blocks.0.attn.to_q"
ONE = {f"{STEM}.lora_A.weight": torch.ones(2, 8), f"{STEM}.lora_B.weight": torch.ones(8, 2)}
UNET = "lora_unet_down_blocks_0_attentions_0_proj_in"
TO_K = "transformer.transformer_blocks.0.attn.to_k"
OTHER = "transformer_blocks.0.attn.to_q"
MERGE, SUBTRACT, AGAIN = "merge_and_unload", "ModelMergeSubtract", "again"
# Tensors, texts of the header, the program that is named, what else is said.
REFUSED = {
    "DoRA of PEFT": (
        {f"{STEM}.lora_magnitude_vector": torch.ones(8)},
        {},
        ("diffusers", "is a DoRA of PEFT", MERGE),
    ),
    "DoRA": ({f"{STEM}.dora_scale": torch.ones(8)}, {}, ("diffusers", "is a DoRA", SUBTRACT)),
    "LoKr": (
        {"lycoris_x.lokr_w1": torch.ones(2, 2)},
        None,
        ("LyCORIS", "is a LoKr", SUBTRACT, "LoraSave"),
    ),
    "LoHa": (
        {"lora_unet_x.hada_w1_a": torch.ones(2, 2)},
        {"ss_v": "1"},
        ("sd-scripts", "is a LoHa", SUBTRACT),
    ),
    "GLoRA": (
        {f"lycoris_{OTHER}.{x}.weight": torch.ones(2, 2) for x in ("a1", "a2", "b1", "b2")},
        None,
        ("LyCORIS", "is a GLoRA", SUBTRACT),
    ),
    "OFT": (
        {f"base_model.model.{OTHER}.oft_R.weight": torch.ones(2, 2)},
        None,
        ("PEFT", "is an OFT of PEFT", MERGE),
    ),
    "BOFT": (
        {f"base_model.model.{OTHER}.boft_R": torch.ones(2, 2)},
        None,
        ("PEFT", "is an OFT of PEFT", MERGE),
    ),
    "VeRA": (
        {f"base_model.model.{OTHER}.vera_lambda_b": torch.ones(2)},
        None,
        ("PEFT", "is a VeRA", MERGE, SUBTRACT),
    ),
    "IA3": (
        {f"base_model.model.{OTHER}.ia3_l": torch.ones(2, 1)},
        None,
        ("PEFT", "is an IA3", MERGE),
    ),
    "IA3 of LyCORIS": (
        {
            f"lycoris_{OTHER}.weight": torch.ones(2),
            f"lycoris_{OTHER}.on_input": torch.ones(()),
        },
        None,
        ("LyCORIS", "is an IA3", MERGE),
    ),
    "HRA": (
        {f"base_model.model.{OTHER}.hra_u": torch.ones(2, 2)},
        None,
        ("PEFT", "an adapter of PEFT that is no LoRA", MERGE),
    ),
    "AdaLoRA": (
        {f"base_model.model.{OTHER}.lora_E": torch.ones(2, 2)},
        None,
        ("PEFT", "is an AdaLoRA", MERGE),
    ),
    "middle matrix": (
        {"lora_unet_x.lora_mid.weight": torch.ones(2, 2)},
        None,
        ("sd-scripts", "middle matrix", SUBTRACT),
    ),
    "differences": (
        {f"diffusion_model.{OTHER}.diff": torch.ones(8, 8)},
        None,
        ("ComfyUI", "whole differences", SUBTRACT),
    ),
    "scales beside": (
        {f"{STEM}.lora_A.weight_scale": torch.ones(())},
        {},
        ("diffusers", "quantised numbers whose scales stand beside", AGAIN),
    ),
    "bitsandbytes": (
        {f"{STEM}.lora_A.weight.absmax": torch.ones(4)},
        {},
        ("diffusers", "quantised numbers", AGAIN),
    ),
    "control": (
        {f"{STEM.replace('to_q', 'norm_q')}.weight": torch.ones(8)},
        {},
        ("diffusers", "a control LoRA", "a slider does not have"),
    ),
    "whole layers beside": (
        {"transformer.proj_out.weight": torch.ones(8, 8)},
        {},
        ("diffusers", "'transformer.proj_out.weight'", "has 1 LoRA and 1 tensor of whole"),
    ),
    "modules to save": (
        {
            f"base_model.model.{OTHER}.lora_A.weight": torch.ones(2, 8),
            f"base_model.model.{OTHER}.lora_B.weight": torch.ones(8, 2),
            "base_model.model.transformer_blocks.0.norm1.linear.weight": torch.ones(8, 8),
            "base_model.model.transformer_blocks.0.norm1.linear.bias": torch.ones(8),
        },
        None,
        ("PEFT", "2 tensors of whole layers", "modules_to_save"),
    ),
    "half of a LoRA": (
        {f"{TO_K}.lora_A.weight": torch.ones(2, 8)},
        {},
        ("diffusers", "has no partner", AGAIN),
    ),
    "alpha alone": ({f"{TO_K}.alpha": torch.ones(())}, {}, ("diffusers", "no partner", AGAIN)),
    "alpha as a matrix": (
        {f"{STEM}.alpha": torch.ones(2)},
        {},
        ("diffusers", "expected a number", AGAIN),
    ),
    "ranks": (
        {
            f"{TO_K}.lora_A.weight": torch.ones(3, 8),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2),
        },
        {"ot_branch": "x"},
        ("OneTrainer", "ranks of", "differ", AGAIN),
    ),
    "three dimensions": (
        {
            f"{TO_K}.lora_A.weight": torch.ones(2, 8, 1),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2, 1),
        },
        {},
        ("diffusers", "expected two dimensions", AGAIN),
    ),
    "NaN": (
        {
            f"{TO_K}.lora_A.weight": torch.full((2, 8), math.nan),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2),
        },
        {},
        ("diffusers", "NaN or infinity", AGAIN),
    ),
    "rows": (
        {
            "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.ones(2, 8),
            "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.ones(23, 2),
        },
        None,
        ("sd-scripts", "23 rows of", "do not fit width 8", AGAIN),
    ),
    "true and false": (
        {
            f"{TO_K}.lora_A.weight": torch.ones(2, 8, dtype=torch.bool),
            f"{TO_K}.lora_B.weight": torch.ones(8, 2),
        },
        {},
        ("diffusers", "lora_A.weight is BOOL, expected one of", "float16"),
    ),
    "our own, damaged": (
        {f"{TO_K}.lora_A.weight": torch.ones(2, 8)},
        {"pairedit": "{}", "ss_network_dim": "4"},
        ("pairedit", "has no partner", AGAIN),
    ),
    "Stable Diffusion": (
        {f"{UNET}.lora_{side}.weight": torch.ones(2, 2) for side in ("down", "up")},
        None,
        ("sd-scripts", "no known layout", "LoRA for Stable Diffusion 1.5 or XL", "trained on"),
    ),
    "Z-Image": (
        {f"diffusion_model.layers.0.attention.qkv.lora_{s}.weight": torch.ones(2, 2) for s in "AB"},
        None,
        ("ai-toolkit or fal", "LoRA for Z-Image", "trained on"),
    ),
    "odd names": (
        {f"transformer.odd.lora_{side}.weight": torch.ones(2, 2) for side in "AB"},
        {"software": "{}"},
        ("ai-toolkit", "FLUX.1 has no such module", "docs/files.md"),
    ),
    "noted DoRA": (
        {},
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 1, "transformer.use_dora": True}
            )
        },
        ("diffusers", "DoRA", MERGE),
    ),
    "a pattern of a stranger": (
        {},
        {
            "lora_adapter_metadata": json.dumps(
                {"transformer.lora_alpha": 1, "transformer.alpha_pattern": {"(a+)+$": 1}}
            )
        },
        ("diffusers", "damaged", "no module", AGAIN),
    ),
    "alpha as text": (
        {},
        {"lora_adapter_metadata": '{"transformer.lora_alpha": "1"}'},
        ("diffusers", "damaged", AGAIN),
    ),
    "a huge alpha": (
        {f"{STEM}.alpha": torch.tensor(1e9)},
        {},
        ("diffusers", "alpha / rank in", "500000000", AGAIN),
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_told_with_its_program_and_a_way_out(kind, tmp_path):
    tensors, texts, (program, *said) = REFUSED[kind]
    path = tmp_path / "odd.safetensors"
    # No header at all: nothing but the odd keys is in the file.
    save_file(tensors if texts is None else ONE | tensors, path, metadata=texts or None)
    with pytest.raises(ValueError, match=r"odd\.safetensors: ") as refused:
        read_lora(path, NAMES)
    told = str(refused.value)
    assert f", probably written by {program};" in told, told
    assert all(part in told for part in said), told
    assert "\n" not in told


def test_a_checkpoint_is_told_as_one(tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file({"weights.semantic.0": torch.ones(2)}, path, metadata={"checkpoint": "{}"})
    with pytest.raises(ValueError, match=r"is a checkpoint of a training.* above"):
        read_lora(path, NAMES)

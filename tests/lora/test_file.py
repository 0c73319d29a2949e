"""LoRA files: notes keep the weights, and what is no LoRA is refused by name."""

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pairedit.lora.adapters import Adapters
from pairedit.lora.file import annotate_lora, inspect_lora, read_lora
from tiny import strong_lora


def good_file():
    return {
        "transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 32),
        "transformer.transformer_blocks.0.attn.to_q.lora_B.weight": torch.ones(32, 2),
    }


DOWN, UP = good_file()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({DOWN: torch.full((2, 32), math.nan)}, "NaN"),
        ({DOWN: torch.ones(3, 32)}, "ranks of"),
        ({DOWN: torch.ones(2)}, "two dimensions"),
        ({UP: None}, "no partner"),
        ({"lora_unet_blocks_0.lora_down.weight": torch.ones(2, 2)}, "layout"),
        ({DOWN: None, UP: None}, "no tensor"),
        ({DOWN: torch.ones(2, 31)}, "maps 31 to 32 features, the model 32 to 32"),
        (
            {key.replace("blocks.0", "blocks.9"): value for key, value in good_file().items()},
            "transformer_blocks.9.attn.to_q is no linear layer",
        ),
    ],
)
def test_bad_files_are_refused_by_name(flux, tmp_path, change, reason):
    tensors = {k: v for k, v in {**good_file(), **change}.items() if v is not None}
    path = tmp_path / "strange.safetensors"
    save_file(tensors, path)
    adapters = Adapters(flux)
    with pytest.raises(ValueError, match=rf"strange\.safetensors: .*{reason}"):
        adapters.load("semantic", read_lora(path))
    adapters.remove()


def test_other_files_are_no_lora(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match="no such LoRA"):
        inspect_lora(path)
    path.write_bytes(b"no tensors here")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        inspect_lora(path)
    pickled = tmp_path / "x.pt"
    pickled.write_bytes(b"")
    with pytest.raises(ValueError, match=r"not a readable \.pt file"):
        inspect_lora(pickled)


def test_alpha_that_diffusers_noted_is_honoured(tmp_path):
    path = tmp_path / "x.safetensors"
    noted = {"transformer.lora_alpha": 8, "transformer.r": 2}
    save_file(good_file(), path, metadata={"lora_adapter_metadata": json.dumps(noted)})
    _, up = read_lora(path).weights["transformer_blocks.0.attn.to_q"]
    torch.testing.assert_close(up, 4 * torch.ones(32, 2))


def test_annotating_keeps_the_weights_bytes(flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    content = lora.path.read_bytes()
    offset = 8 + int.from_bytes(content[:8], "little")
    for entries in ({"calibration": {"scale": 0.3}}, {"note": "é" * 77}, {"calibration": None}):
        annotate_lora(lora.path, **entries)
        changed = lora.path.read_bytes()
        start = 8 + int.from_bytes(changed[:8], "little")
        assert changed[start:] == content[offset:]
        assert start % 8 == 0
        for name, value in entries.items():
            assert inspect_lora(lora.path).get(name) == value
    assert inspect_lora(lora.path)["base_model"] == "tiny"
    with safe_open(lora.path, framework="pt") as file:
        assert "pairedit" in file.metadata()

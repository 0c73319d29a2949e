"""LoRA files under other suffixes and names of adapters, and what is no LoRA at all."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import inspect_lora, read_lora

MODULE = "transformer_blocks.0.attn.to_q"
DOWN, UP = torch.randn(2, 8), torch.randn(8, 2)


def pair(stem: str, adapter: str = "") -> dict[str, torch.Tensor]:
    return {
        f"{stem}.lora_A{adapter}.weight": DOWN.clone(),
        f"{stem}.lora_B{adapter}.weight": UP.clone(),
    }


def check(path) -> None:
    inspect_lora(path, NAMES)
    ((module, (down, up)),) = read_lora(path, NAMES).weights.items()
    assert module == MODULE
    assert torch.equal(up @ down, UP @ DOWN)


@pytest.mark.parametrize("suffix", ["safetensors", "sft", "pt", "bin", "pth", "ckpt", "PT"])
@pytest.mark.parametrize("by", ["safetensors", "torch"])
def test_content_tells_what_a_file_is(tmp_path, suffix, by):
    path = tmp_path / f"a.{suffix}"
    if by == "torch":
        torch.save(pair(f"transformer.{MODULE}"), path)
    else:
        path.write_bytes(save(pair(f"transformer.{MODULE}")))
    check(path)


@pytest.mark.parametrize("adapter", ["", ".default", ".default_0", ".my-lora", ".0"])
def test_an_adapter_may_have_any_name(tmp_path, adapter):
    (tmp_path / "a.safetensors").write_bytes(save(pair(f"transformer.{MODULE}", adapter)))
    check(tmp_path / "a.safetensors")


def test_a_text_encoder_is_left_out_under_the_prefix_of_peft(tmp_path, caplog):
    tensors = pair(f"base_model.model.{MODULE}") | pair("base_model.model.text_model.encoder.q")
    (tmp_path / "a.safetensors").write_bytes(save(tensors))
    check(tmp_path / "a.safetensors")
    assert caplog.messages[-1].endswith("LoRAs of 1 module; left out: 2 of text encoders")


@pytest.mark.parametrize(
    "key",
    [
        f"{MODULE}.weight",
        "double_blocks.0.img_attn.qkv.weight",
        "model.diffusion_model.double_blocks.0.img_attn.norm.key_scale.scale",
        "decoder.conv_in.weight",
    ],
)
def test_a_whole_model_is_told_as_one(tmp_path, key):
    (tmp_path / "a.safetensors").write_bytes(save({key: UP}))
    with pytest.raises(ValueError, match="a whole model: the file is not a LoRA, but a checkpoint"):
        inspect_lora(tmp_path / "a.safetensors", NAMES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_what_a_download_left_is_named(tmp_path, suffix, content, said):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name}: is {said}, not the file itself"):
        inspect_lora(path, NAMES)

"""Layouts of LoRA files: round trips keep every edit, diffusers reads ours, no file runs code."""

import math
import os
from itertools import product

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from safetensors.torch import save_file

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.adapters import Adapters, find_modules
from pairedit.lora.file import read_lora, write_lora
from pairedit.lora.layouts import LAYOUTS, to_tensors
from pairedit.sample import Slider, generate
from tiny import assert_same_edit, random_lora

SUFFIX = {"diffusers": ".safetensors", "kohya": ".safetensors", "published": ".pt"}
COMMON = {"num_inference_steps": 4, "guidance_scale": 3.5, "resolution": 32}


def draw(flux, lora, scales=(0.7,)):
    sliders = [Slider(lora=lora, scales=scales)]
    samples = generate(flux, sliders=sliders, prompts=["old"], seeds=[7], skip=0, **COMMON)
    return [np.asarray(sample.image).astype(int) for sample in samples]


@pytest.mark.parametrize(
    ("layout", "targets", "ranks"),
    [
        *product(LAYOUTS, ["attention"], [(3,), (16,), (2, 5, 1)]),
        *product(["diffusers", "kohya"], ["attention_mlp", "text_stream"], [(4,), (2, 5, 1)]),
        ("kohya", [r"attn\.to_k", "proj_mlp", r"norm1?(_context)?\.linear"], (3, 2)),
    ],
)
def test_a_round_trip_draws_the_same_image(flux, tmp_path, layout, targets, ranks):
    lora = random_lora(flux, tmp_path / "age.safetensors", targets, ranks)
    exported = tmp_path / f"age-{layout}{SUFFIX[layout]}"
    write_lora(exported, lora.weights, lora.metadata, layout, NAMES)
    back = read_lora(exported, NAMES)
    assert_same_edit(lora, back)
    if layout != "published":
        assert {m: len(a) for m, (a, _) in back.weights.items()} == {
            m: len(a) for m, (a, _) in lora.weights.items()
        }, "no rank is lost or added"
        assert back.metadata["dataset"] == "age"
    base, moved = draw(flux, lora, (0.0, 0.7))
    assert abs(draw(flux, back)[0] - moved).max() <= 1
    assert abs(base - moved).max() > 8


def test_diffusers_reads_the_diffusers_and_the_kohya_export(flux, tmp_path, tiny_flux_folder):
    # diffusers' kohya reader knows FLUX.1's width alone in single blocks, any width in double ones.
    lora = random_lora(flux, tmp_path / "x.safetensors", [r"transformer_blocks\..*attn\..*"], (4,))
    (expected,) = draw(flux, lora)
    pipeline = FluxPipeline.from_pretrained(tiny_flux_folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for layout in ("diffusers", "kohya"):
        path = tmp_path / f"{layout}.safetensors"
        write_lora(path, lora.weights, {}, layout, NAMES)
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=layout)
        pipeline.set_adapters([layout])
        image = pipeline(
            "old",
            height=32,
            width=32,
            num_inference_steps=4,
            guidance_scale=3.5,
            max_sequence_length=32,
            generator=torch.Generator().manual_seed(7),
            joint_attention_kwargs={"scale": 0.7},
        ).images[0]
        assert abs(np.asarray(image).astype(int) - expected).max() <= 1, layout
        pipeline.delete_adapters(layout)


@pytest.mark.parametrize(("rank", "mlp"), [(1, False), (4, False), (2, True)])
def test_diffusers_converts_the_kohya_export_of_flux_dev(rank, mlp):
    """At FLUX.1's width, where q, k, v and the MLP of a single block are one matrix."""
    from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers

    generator = torch.Generator().manual_seed(0)
    sizes = {f"single_transformer_blocks.7.attn.to_{part}": 3072 for part in "qkv"}
    sizes |= {"transformer_blocks.3.attn.add_k_proj": 3072}
    if mlp:
        sizes["single_transformer_blocks.7.proj_mlp"] = 4 * 3072
    weights = {
        module: (
            torch.randn(rank, 3072, generator=generator),
            torch.randn(rows, rank, generator=generator),
        )
        for module, rows in sizes.items()
    }
    converted = _convert_kohya_flux_lora_to_diffusers(to_tensors(weights, "kohya", NAMES))
    x = torch.randn(5, 3072, generator=generator)
    for module in [*sizes, "single_transformer_blocks.7.proj_mlp"]:
        down, up = (converted.get(f"transformer.{module}.lora_{side}.weight") for side in "AB")
        found = torch.zeros(()) if down is None else x @ down.T @ up.T
        expected = torch.zeros(())
        if module in sizes:
            expected = x @ weights[module][0].T @ weights[module][1].T
        torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-4, atol=1e-3)


def test_the_published_file_has_its_keys_and_scaling(flux, tmp_path):
    lora = random_lora(flux, tmp_path / "x.safetensors", ranks=(16,))
    write_lora(tmp_path / "x.pt", lora.weights, {}, "published", NAMES)
    tensors = torch.load(tmp_path / "x.pt", weights_only=True)
    stem = "lora_unet_transformer_blocks_0_attn_to_q"
    assert {key for key in tensors if key.startswith(stem)} == {
        f"{stem}.lora_down.weight",
        f"{stem}.lora_up.weight",
        f"{stem}.alpha",
    }
    assert len(tensors) == 3 * len(lora.weights)
    down, up = tensors[f"{stem}.lora_down.weight"], tensors[f"{stem}.lora_up.weight"]
    expected = lora.weights["transformer_blocks.0.attn.to_q"]
    # That code computes alpha / rank * up @ down.
    torch.testing.assert_close(tensors[f"{stem}.alpha"] / 16 * up @ down, expected[1] @ expected[0])


def test_a_published_file_as_it_was_written(flux, tmp_path):
    """Alpha 1, rank 16, bfloat16, the names of every attention projection."""
    tensors, modules = {}, find_modules(flux.transformer, "attention", flux.names)
    for module in modules:
        stem = f"lora_unet_{module.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = torch.randn(16, 32).bfloat16()
        tensors[f"{stem}.lora_up.weight"] = torch.randn(32, 16).bfloat16()
        tensors[f"{stem}.alpha"] = torch.tensor(1)
    torch.save(tensors, tmp_path / "x.pt")
    lora = read_lora(tmp_path / "x.pt", NAMES)
    assert set(lora.weights) == set(modules)
    for module, (down, up) in lora.weights.items():
        stem = f"lora_unet_{module.replace('.', '_')}"
        torch.testing.assert_close(down, tensors[f"{stem}.lora_down.weight"].float())
        torch.testing.assert_close(up, tensors[f"{stem}.lora_up.weight"].float() / 16)


def test_a_dense_kohya_file_is_taken_apart(flux, tmp_path):
    """sd-scripts trains q, k and v as one LoRA: all of its ranks reach all of them."""
    stem = "lora_unet_single_blocks_1_linear1"
    down, up = torch.randn(4, 32), torch.randn(3 * 32 + 128, 4)
    tensors = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    save_file(tensors | {f"{stem}.alpha": torch.tensor(2.0)}, tmp_path / "x.safetensors")
    weights = read_lora(tmp_path / "x.safetensors", NAMES).weights
    tails = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    for tail, rows in zip(tails, up.split([32, 32, 32, 128]), strict=True):
        a, b = weights[f"single_transformer_blocks.1.{tail}"]
        torch.testing.assert_close(b @ a, 0.5 * rows @ down)
    adapters = Adapters(flux.transformer)
    assert adapters.load("x", read_lora(tmp_path / "x.safetensors", NAMES)) == 4
    adapters.remove()


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["PAIREDIT_BOMB"],)


def test_code_in_a_file_is_never_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PAIREDIT_BOMB", str(tmp_path / "gone off"))
    for content in ({"x": Bomb()}, Bomb()):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(ValueError, match=r"x\.pt: not a file of tensors alone"):
            read_lora(tmp_path / "x.pt", NAMES)
    assert not (tmp_path / "gone off").exists()
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "gone off").exists(), "the bomb works"


STEM = "lora_unet_transformer_blocks_0_attn_to_q"


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ([torch.ones(2)], "mapping of names"),
        ({"a": 3}, "mapping of names"),
        ({}, "no tensor"),
        ({"lora_unet_nothing.alpha": torch.ones(())}, "no known layout"),
        ({"lora_unet_transformer_blocks_0_attn_to_x.alpha": torch.ones(())}, "no known layout"),
        ({f"{STEM}.alpha": torch.ones(())}, "no partner"),
        ({f"{STEM}.lora_down.weight": torch.ones(2, 4)}, "no partner"),
        (
            {f"{STEM}.lora_{part}.weight": torch.ones(2, 4) for part in ("down", "up")},
            "ranks of",
        ),
        (
            {
                f"{STEM}.lora_down.weight": torch.ones(2, 4),
                f"{STEM}.lora_up.weight": torch.full((4, 2), math.inf),
            },
            "NaN or infinity",
        ),
        (
            {
                "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.ones(2, 4),
                "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.ones(11, 2),
            },
            "do not fit width 4",
        ),
    ],
)
def test_strange_files_are_refused_by_name(tmp_path, tensors, reason):
    torch.save(tensors, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=rf"odd\.pt: .*{reason}"):
        read_lora(tmp_path / "odd.pt", NAMES)

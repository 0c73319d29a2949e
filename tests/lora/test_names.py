"""What a base says of its module names: target sets and layouts hold for bases unlike FLUX.1."""

import pytest
import torch

from pairedit.bases.flux1.names import NAMES
from pairedit.bases.flux2.names import NAMES as KLEIN
from pairedit.bases.z_image.names import NAMES as Z_IMAGE
from pairedit.lora.file import read_lora, write_lora
from pairedit.lora.keys import read_keys
from pairedit.lora.layouts import LAYOUTS, from_tensors, to_tensors
from pairedit.lora.names import UNKNOWN
from pairedit.lora.targets import match_targets

BASES = {"klein": (KLEIN, (5, 20)), "z-image": (Z_IMAGE, (2, 2, 30)), "flux1": (NAMES, (19, 38))}
ROWS = {"attn.to_qkv_mlp_proj": 9, "proj_mlp": 4}  # widths


@pytest.mark.parametrize(("base", "count"), [("klein", 80), ("z-image", 136), ("flux1", 266)])
def test_attention_is_found_in_every_block(base, count):
    names, counts = BASES[base]
    modules = names.modules(counts)
    found = match_targets([*modules, "proj_out", "x_embedder"], "attention", names)
    assert len(found) == count
    blocks = {names.block.match(name).group() for name in found}
    assert len(blocks) == sum(counts), "no block goes without"


def test_a_set_that_a_base_lacks_and_a_near_miss_are_named():
    modules = Z_IMAGE.modules((2, 2, 3))
    with pytest.raises(
        ValueError, match=r"targets=image_stream: expected attention, attention_mlp, or a"
    ):
        match_targets(modules, "image_stream", Z_IMAGE)
    with pytest.raises(ValueError, match=r"matches no module; near it: noise_refiner\.1\."):
        match_targets(modules, [r"noise_refiner\.3\.attention\.to_q"], Z_IMAGE)
    with pytest.raises(ValueError, match=r"near it: .*attention\.to_q"):
        match_targets(modules, ["to_qq"], Z_IMAGE)


def some(names, width=6, leave_out=()):
    """Draw a LoRA on every module of two blocks of each kind."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for module in names.modules([2] * len(names.kinds)):
        if module in leave_out:
            continue
        rows = width * next((n for tail, n in ROWS.items() if module.endswith(tail)), 1)
        down = torch.randn(2, width, generator=generator)
        weights[module] = (down, torch.randn(rows, 2, generator=generator))
    return weights


def deltas(weights):
    return {module: up @ down for module, (down, up) in weights.items()}


def read(tensors, names):
    shapes = {key: list(value.shape) for key, value in tensors.items()}
    return from_tensors(tensors, read_keys(shapes, names).entries)


@pytest.mark.parametrize("base", BASES)
def test_a_round_trip_in_the_originals_names(base):
    names, _ = BASES[base]
    left_out = [kind.name + ".1." + kind.modules[0] for kind in names.kinds]
    weights = some(names, leave_out=left_out)
    tensors = to_tensors(weights, "kohya", names)
    torch.testing.assert_close(deltas(read(tensors, names)), deltas(dict(sorted(weights.items()))))
    stems = {key.split(".")[0] for key in tensors}
    if base == "klein":
        assert "lora_unet_single_blocks_0_linear1" in stems
        assert tensors["lora_unet_single_blocks_0_linear1.lora_up.weight"].shape == (54, 2)
        assert not any("modulation" in stem or "mod_lin" in stem for stem in stems)
    if base == "z-image":
        assert tensors["lora_unet_layers_0_attention_qkv.lora_up.weight"].shape == (18, 6)
        assert not any(s.startswith("lora_unet_context_refiner") and "adaLN" in s for s in stems)


@pytest.mark.parametrize("base", BASES)
def test_the_originals_matrices_hold_every_module_once(base):
    names, _ = BASES[base]
    for kind in names.kinds:
        held = [module for part in kind.parts for module in part.modules]
        assert sorted(held) == sorted(kind.modules)
        for part in kind.parts:
            assert len(part.rows) == (len(part.modules) if len(part.modules) > 1 else 0)


def test_what_a_base_does_not_name_is_refused_not_dropped():
    weights = {"transformer_blocks.0.attn.to_q": (torch.ones(1, 4), torch.ones(4, 1))}
    weights |= {
        f"single_transformer_blocks.{i}.attn.to_q": w for i, w in enumerate([*weights.values()] * 5)
    }
    with pytest.raises(ValueError, match=r"layout=kohya: only modules that FLUX.2 names, not"):
        to_tensors(weights, "kohya", KLEIN)
    with pytest.raises(ValueError, match=r"layout=published: .* FLUX\.1, not FLUX\.2"):
        to_tensors(weights, "published", KLEIN)


def test_files_of_one_base_are_no_files_of_another(tmp_path):
    path = tmp_path / "x.safetensors"
    write_lora(path, some(Z_IMAGE), {}, "kohya", Z_IMAGE)
    assert read_lora(path, Z_IMAGE).weights
    for names in (KLEIN, NAMES, UNKNOWN):
        with pytest.raises(ValueError, match="no known layout"):
            read_lora(path, names)


def test_every_layout_says_its_suffix():
    assert {name: layout.suffix for name, layout in LAYOUTS.items()} == {
        "diffusers": ".safetensors",
        "kohya": ".safetensors",
        "published": ".pt",
    }

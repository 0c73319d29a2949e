"""LoRA placement: the named sets, patterns, near misses; the static list is the model's own."""

import re

import pytest

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.adapters import Adapters, _linears, find_modules
from pairedit.lora.file import read_lora
from pairedit.lora.targets import match_targets

FLUX = NAMES.modules((19, 38))


def test_the_list_of_modules_is_the_models(flux):
    inside = [name for name, _ in _linears(flux.transformer) if NAMES.block.match(name)]
    assert sorted(inside) == sorted(NAMES.modules((2, 2)))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("attention", 19 * 8 + 38 * 3),
        ("attention_mlp", 19 * 12 + 38 * 5),
        ("image_stream", 19 * 4),
        ("text_stream", 19 * 4),
    ],
)
def test_named_sets_on_flux(name, count):
    assert len(match_targets(FLUX, name, NAMES)) == count


def test_streams_are_disjoint_and_leave_single_blocks_out():
    image, text = (set(match_targets(FLUX, f"{side}_stream", NAMES)) for side in ("image", "text"))
    assert not image & text
    assert all(name.startswith("transformer_blocks.") for name in image | text)
    attention = set(match_targets(FLUX, "attention", NAMES))
    assert {n for n in attention if n.startswith("transformer_blocks.")} == image | text


def test_a_pattern_may_name_a_block():
    assert match_targets(FLUX, [r"single_transformer_blocks\.3\.attn\.to_q"], NAMES) == [
        "single_transformer_blocks.3.attn.to_q"
    ]
    assert len(match_targets(FLUX, [r"transformer_blocks\.[01]\..*"], NAMES)) == 2 * 14
    # The model's last layer is called proj_out as well, and is none of a block.
    assert match_targets(
        ["proj_out", "single_transformer_blocks.0.proj_out"], ["proj_out"], NAMES
    ) == ["single_transformer_blocks.0.proj_out"]


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("to_qq", "attn.to_q"),
        (r"attn\.to_query", "attn.to_q"),
        ("add_q", "attn.add_q_proj"),
        (r"mlp_proj", "proj_mlp"),
        (r"transformer_blocks\.19\.attn\.to_q", "transformer_blocks.9.attn.to_q"),
        ("zzz", "norm1.linear"),  # nothing is near: everything is listed
    ],
)
def test_near_misses_are_listed(pattern, near):
    with pytest.raises(ValueError, match=rf"{re.escape(repr(pattern))} matches no .*{near}"):
        match_targets(FLUX, ["to_v", pattern], NAMES)


def test_every_pattern_without_match_is_named():
    with pytest.raises(ValueError, match=r"'to_x' matches .*; 'to_y' matches"):
        match_targets(FLUX, ["to_x", "to_k", "to_y"], NAMES)


@pytest.mark.parametrize("name", NAMES.targets)
def test_every_set_trains_and_its_file_loads(flux, pair_folder, tmp_path, name):
    from pairedit.data.examples import find_pairs
    from pairedit.methods import PairEdit
    from pairedit.runs.tracking import Silent
    from pairedit.settings import Settings
    from pairedit.train import fit

    settings = Settings(steps=2, rank=2, resolution=32, num_inference_steps=4, end_step=3)
    files = fit(
        flux=flux,
        method=PairEdit(content=False),
        pairs=find_pairs(pair_folder),
        settings=Settings(**{**vars(settings), "targets": name}),
        folder=tmp_path,
        run=Silent(),
        metadata={},
    )
    lora = read_lora(files["semantic"])
    assert set(lora.weights) == set(find_modules(flux.transformer, name, flux.names))
    assert all(up.any() for _, up in lora.weights.values()), "every module has learnt"
    adapters = Adapters(flux.transformer)
    assert adapters.load("semantic", lora) == len(lora.weights)
    adapters.remove()

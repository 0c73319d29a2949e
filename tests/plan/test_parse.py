"""Sliders, seeds and prompts are read as they are written."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pairedit.plan.parse import (
    choose_prompts,
    parse_prompts,
    parse_seeds,
    parse_sliders,
)
from pairedit.plan.usual import DEFAULT_SCALES


@pytest.mark.parametrize(
    ("lora", "scales", "expected"),
    [
        (None, None, []),
        ("a", None, [("a", DEFAULT_SCALES)]),
        ("a", [0, 0.8], [("a", (0, 0.8))]),
        (["a", "b"], [-1, 0], [("a", (-1, 0)), ("b", (-1, 0))]),
        (
            ["a", {"path": "b", "scales": [0.5]}],
            [0, 1],
            [("a", (0, 1)), ("b", (0.5, 0.5))],
        ),
        (
            [{"path": "a", "scales": [0, 1]}, {"path": "b", "scales": [1, 0]}],
            None,
            [("a", (0, 1)), ("b", (1, 0))],
        ),
    ],
)
def test_sliders(lora, scales, expected):
    found = parse_sliders(OmegaConf.create({"x": lora}).x, scales)
    assert [(entry.path, entry.scales) for entry in found] == [
        (Path(path), values) for path, values in expected
    ]


def test_seeds():
    assert parse_seeds(None) == [0, 1, 2]
    assert parse_seeds(5) == [5]
    assert parse_seeds(OmegaConf.create([3, 1])) == [3, 1]
    assert parse_seeds(OmegaConf.create({"start": 10, "count": 3})) == [10, 11, 12]
    drawn = parse_seeds({"random": 5})
    assert len(set(drawn)) == 5
    assert drawn != parse_seeds({"random": 5})
    for bad in (True, 1.5, [], [True], {"start": 1}, {"random": 0}, {"start": 0, "count": -1}):
        with pytest.raises(ValueError, match="seeds="):
            parse_seeds(bad)


def test_prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("# people\nold man\n\nyoung woman\n")
    assert parse_prompts(None, None, "person") == ["person"]
    assert parse_prompts("a", None, "person") == ["a"]
    assert parse_prompts(OmegaConf.create(["a", ""]), None, "person") == ["a", ""]
    assert parse_prompts(None, str(file), "person") == ["old man", "young woman"]


def test_a_grid_combines_across_and_down():
    entries = OmegaConf.create({"x": ["a", {"path": "b", "scales": [0, 1], "skip": 18}]}).x
    across, down = parse_sliders(entries, [0, 0.2, 0.4], grid=True)
    assert (across.skip, down.skip) == (None, 18)
    assert list(zip(across.scales, down.scales, strict=True)) == [
        *((0.0, 0.0), (0.2, 0.0), (0.4, 0.0)),
        *((0.0, 1.0), (0.2, 1.0), (0.4, 1.0)),
    ]


@pytest.mark.parametrize(
    ("lora", "scales", "reason"),
    [
        ("a", None, "needs two LoRAs"),
        (["a", "b", "c"], None, "there is 3"),
        (["a", "b"], [0, 0], "a cell is there twice"),
        (["a", {"path": "b", "skip": "x"}], None, "skip 'x' of b"),
    ],
)
def test_what_is_no_grid_is_refused(lora, scales, reason):
    with pytest.raises(ValueError, match=reason):
        parse_sliders(OmegaConf.create({"x": lora}).x, scales, grid=True)


def test_a_seed_draws_its_prompt_whatever_the_other_seeds():
    prompts = [f"p{index}" for index in range(16)]
    many = choose_prompts(prompts, range(60), "one")
    assert many[7] == choose_prompts(prompts, [7], "one")[7]
    assert len(set(many.values())) > 10
    assert choose_prompts(prompts, [1], "all") == prompts
    with pytest.raises(ValueError, match="all or one"):
        choose_prompts(prompts, [1], "two")

"""Hardware profiles: what auto takes, and what a user may set."""

from dataclasses import replace

import pytest

from pairedit.bases.flux1.load import NEEDS
from pairedit.machine.hardware import Hardware, choose, profile

BIG = 12_000_000_000


def settle(asked, **known):
    known = {"device": "cuda", "free": 80.0, "parameters": BIG, "precision": "bf16"} | known
    return choose(asked, **{"changes": {}, "needs": NEEDS} | known)


@pytest.mark.parametrize(
    ("free", "name"), [(79.0, "80gb"), (47.0, "80gb"), (23.0, "24gb"), (15.0, "12gb"), (9, "8gb")]
)
def test_auto_takes_what_fits(free, name):
    assert settle(Hardware(name="auto"), free=free).name == name


def test_auto_leaves_cpus_plain():
    found = settle(Hardware(name="auto"), device="cpu")
    assert found == Hardware(precision="bf16")


def test_auto_gives_small_models_graphs_and_compiles_nothing():
    found = settle(Hardware(name="auto"), parameters=10_000_000, precision="float32", free=5.0)
    assert (found.graphs, found.fused, found.compile) == (True, True, False)
    assert found.precision == "float32"


def test_what_the_user_sets_wins_over_the_profile():
    found = settle(
        Hardware(name="auto"), free=23.0, changes={"precision": "int8", "gradient_checkpointing": 0}
    )
    assert found == replace(profile("24gb"), precision="int8", gradient_checkpointing=0)


@pytest.mark.parametrize(
    ("name", "steps", "precision", "compiled"),
    [
        ("80gb", 999, "auto", False),
        ("80gb", 1000, "auto", True),
        ("80gb", 250, "fp8", True),
        ("80gb", 249, "fp8", False),
        ("24gb", 749, "auto", False),
        ("24gb", 750, "auto", True),
        ("12gb", 250, "auto", True),
        ("80gb", None, "auto", True),
    ],
)
def test_a_training_is_compiled_where_it_saves_more_than_it_takes(name, steps, precision, compiled):
    free = {"80gb": 79.0, "24gb": 23.0, "12gb": 15.0}[name]
    found = settle(
        Hardware(name="auto"), free=free, changes={"steps": steps, "precision": precision}
    )
    assert (found.name, found.compile) == (name, compiled)


@pytest.mark.parametrize("asked", [profile("24gb"), Hardware(precision="fp8")])
def test_what_needs_a_gpu_says_so(asked):
    with pytest.raises(ValueError, match="needs a GPU, and this run is on cpu"):
        settle(asked, device="cpu")


@pytest.mark.parametrize("name", ["80gb", "24gb", "12gb", "8gb", "cpu"])
def test_profiles_say_every_field(name):
    assert profile(name).name == name


def test_bad_fields_are_all_named():
    with pytest.raises(ValueError, match=r"batch_size=0.*graphs=True"):
        Hardware(batch_size=0, graphs=True)


@pytest.mark.parametrize(
    "more", [{"swapped": 1.5}, {"swapped": 0.5, "fused": True, "graphs": True}]
)
def test_swapped_blocks_are_a_share_and_no_part_of_a_graph(more):
    with pytest.raises(ValueError, match=r"swapped=1.5: expected 0 to 1|swapped=0 with it"):
        Hardware(**more)

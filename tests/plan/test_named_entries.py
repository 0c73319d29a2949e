"""Of a list that is wrong, the wrong entry is named; what a later word drops is said."""

import pytest

from pairedit.data.examples import pick_images
from pairedit.files import near_path
from pairedit.plan.eval import find_sliders
from pairedit.plan.parse import parse_prompts, parse_seeds, parse_sliders
from pairedit.plan.typed import left_out
from pairedit.plan.wording import describe_composition


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (
            lambda: parse_sliders("a", [0, float("inf")]),
            "expected at least one finite number, not inf",
        ),
        (
            lambda: parse_sliders({"path": "a", "scales": [0, "x"]}, None),
            "not a list of numbers: x",
        ),
        (lambda: parse_sliders("a", [0, 2.5, 2.5]), r"\[2.5\]\]: 2.5$"),
        (lambda: parse_seeds([1, "a"]), "expected whole numbers, not a$"),
        (lambda: parse_seeds([1, 2, 2]), "2 is there twice"),
        (lambda: parse_prompts(["a", 3], None, ""), "or a list of texts, not 3$"),
        (lambda: parse_prompts(["a", "b", "a"], None, ""), ": a is there twice"),
        (lambda: find_sliders(["a", "b", "a"], None, []), "a path is there twice: a$"),
    ],
)
def test_the_wrong_entry_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_an_image_that_is_asked_for_twice_is_named(pair_folder):
    with pytest.raises(ValueError, match="distinct file stems; p0 is there twice"):
        pick_images(pair_folder / "source", ["p0", "p1", "p0"])


def test_what_hydra_says_of_a_list_names_its_entry():
    error = ValueError("Value 'strong' of type 'str' could not be converted to Float")
    assert describe_composition(error, "scales=[0,strong]", "gen") == (
        "scales=[0,strong]: expected a number, not strong"
    )
    assert describe_composition(error, "cfg_eta=strong", "train").endswith("expected a number")


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (
            ["lora=a", "lora=b"],
            "lora=a: is left out, because lora=b stands behind it; for both write lora=[a,b]",
        ),
        (["lora=[a,b]", "lora=c"], "lora=[a,b]: is left out, because lora=c stands behind it"),
        (["dataset=[age,age]"], "dataset=[age,age]: age is there twice and counts once"),
    ],
)
def test_what_is_dropped_is_said(words, note):
    assert left_out(words) == [note]


def test_the_last_number_holds_without_a_word():
    assert left_out(["steps=1", "steps=2", "lora=a", "lora=a", "reader=[probe,clip]"]) == []


def test_a_path_of_another_kind_is_no_proposal_for_itself(tmp_path):
    (tmp_path / "photo.png").touch()
    assert near_path(tmp_path / "photo.png") == ""
    assert near_path(tmp_path / "phota.png").endswith("photo.png?")

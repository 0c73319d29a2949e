"""How a slider is used: by the command, else by what its file notes."""

import pytest

from composing import composed
from pairedit.lora.file import annotate_lora
from pairedit.plan.eval import plan_eval
from pairedit.plan.gen import plan_gen
from pairedit.plan.use import Use, use_of

NOTED = {"use": {"skip": 0.6, "local": True, "schedule": 0.5, "by": "probe"}}
AUTO = ("auto", "auto", "auto")


@pytest.mark.parametrize(
    ("metadata", "asked", "expected"),
    [
        ({}, AUTO, Use()),
        (NOTED, AUTO, Use(skip=0.6, local=True, lean=0.5)),
        (NOTED, (3, False, "late"), Use(skip=3, lean=-1.0)),
        (NOTED, (None, True, 0), Use(local=True)),
        (NOTED, (0.4, "auto", "auto"), Use(skip=0.4, local=True, lean=0.5)),
        ({}, ("auto", True, "early"), Use(local=True, lean=1.0)),
        ({}, ("auto", "pixels", 0), Use(local="pixels")),
        ({"use": {"local": "pixels"}}, AUTO, Use(local="pixels")),
        ({"use": {"local": 1}}, AUTO, Use()),
        # A stranger's file may note anything.
        ({"use": [1]}, AUTO, Use()),
        ({"use": {"local": "yes", "schedule": 7, "skip": 11}}, AUTO, Use()),
        ({"use": {"schedule": ["early"], "skip": "0.6"}}, AUTO, Use()),
        ({"use": {"skip": 1.5}}, AUTO, Use()),
    ],
)
def test_the_command_counts_then_the_file(metadata, asked, expected):
    assert use_of(metadata, *asked, steps=28) == expected


@pytest.mark.parametrize("name", ["gen", "eval"])
def test_plans_say_how_a_slider_is_used(name, lora, tiny_overrides):
    words = [f"lora={lora.path}", *tiny_overrides]

    def found(*more):
        config = composed(name, *words, *more)
        if name == "gen":
            return plan_gen(config).uses[0]
        (subject,) = plan_eval(config).subjects
        return subject.use

    # Sliders of an evaluation always have a skip; in a rendering that of the run is the run's.
    usual = {"gen": None, "eval": 1}[name]
    asked = {"gen": None, "eval": 2}[name]
    assert found() == Use(skip=usual)
    assert found("local=true", "schedule=early") == Use(skip=usual, local=True, lean=1.0)
    annotate_lora(lora.path, **NOTED)
    assert found() == Use(skip=0.6, local=True, lean=0.5)
    assert found("skip=2") == Use(skip=asked, local=True, lean=0.5)
    assert found("local=false", "schedule=-0.25") == Use(skip=0.6, lean=-0.25)
    assert found("local=pixels") == Use(skip=0.6, local="pixels", lean=0.5)
    with pytest.raises(
        ValueError, match=r"local=yes: expected auto, true, pixels or false"
    ) as error:
        found("local='yes'", "schedule=soon")
    assert "schedule=soon: expected auto, flat, early, late, or a number from -1" in str(
        error.value
    )


def test_without_a_slider_there_is_nothing_to_use(tiny_overrides):
    with pytest.raises(ValueError, match="local=true: has no effect; no lora is given"):
        plan_gen(composed("gen", "local=true", "skip=1", *tiny_overrides))

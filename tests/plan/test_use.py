"""How a slider is used: by the command, else by what its file notes."""

import pytest

from composing import composed
from pairedit.lora.file import annotate_lora
from pairedit.plan.eval import plan_eval
from pairedit.plan.gen import plan_gen
from pairedit.plan.use import Use, use_of

NOTED = {"use": {"local": True, "schedule": 0.5}}


@pytest.mark.parametrize(
    ("metadata", "asked", "expected"),
    [
        ({}, ("auto", "auto"), Use()),
        (NOTED, ("auto", "auto"), Use(local=True, lean=0.5)),
        (NOTED, (False, "late"), Use(lean=-1.0)),
        (NOTED, (True, 0), Use(local=True)),
        ({}, (True, "early"), Use(local=True, lean=1.0)),
        # A stranger's file may note anything.
        ({"use": [1]}, ("auto", "auto"), Use()),
        ({"use": {"local": "yes", "schedule": 7}}, ("auto", "auto"), Use()),
        ({"use": {"schedule": ["early"]}}, ("auto", "auto"), Use()),
    ],
)
def test_the_command_counts_then_the_file(metadata, asked, expected):
    assert use_of(metadata, *asked) == expected


@pytest.mark.parametrize("name", ["gen", "eval"])
def test_plans_say_how_a_slider_is_used(name, lora, tiny_overrides):
    words = [f"lora={lora.path}", "skip=1", *tiny_overrides]

    def found(*more):
        config = composed(name, *words, *more)
        if name == "gen":
            return plan_gen(config).uses[0]
        (subject,) = plan_eval(config).subjects
        return Use(local=subject.local, lean=subject.lean)

    assert found() == Use()
    assert found("local=true", "schedule=early") == Use(local=True, lean=1.0)
    annotate_lora(lora.path, **NOTED)
    assert found() == Use(local=True, lean=0.5)
    assert found("local=false", "schedule=-0.25") == Use(lean=-0.25)
    with pytest.raises(ValueError, match=r"local=yes: expected auto, true or false") as error:
        found("local='yes'", "schedule=soon")
    assert "schedule=soon: expected auto, flat, early, late, or a number from -1" in str(
        error.value
    )


def test_without_a_slider_there_is_nothing_to_use(tiny_overrides):
    with pytest.raises(ValueError, match="local=true: without effect, no lora is given"):
        plan_gen(composed("gen", "local=true", "skip=1", *tiny_overrides))

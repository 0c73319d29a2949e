"""How a slider is used: by the command, else by what its file notes."""

from pathlib import Path

import pytest

from composing import composed
from pairedit.lora.file import annotate_lora
from pairedit.plan.eval import plan_eval
from pairedit.plan.gen import plan_gen
from pairedit.plan.use import Use, known_unit, unit_of, use_of
from pairedit.settings import Rendering
from tiny import picture

NOTED = {"use": {"skip": 0.6, "local": True, "schedule": 0.5, "by": "probe"}}
AUTO = ("auto", "auto", "auto")
KEYS = ("skip", "local", "schedule", "flowedit")


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
        ({"use": {"flowedit": True}}, AUTO, Use(flowedit=True)),
        ({"use": {"flowedit": True}}, (*AUTO, False), Use()),
        ({"use": {"flowedit": "true"}}, AUTO, Use()),
        (NOTED, (*AUTO, True), Use(skip=0.6, local=True, lean=0.5, flowedit=True)),
        # A stranger's file may note anything.
        ({"use": [1]}, AUTO, Use()),
        ({"use": {"local": "yes", "schedule": 7, "skip": 11}}, AUTO, Use()),
        ({"use": {"schedule": ["early"], "skip": "0.6"}}, AUTO, Use()),
        ({"use": {"skip": 1.5}}, AUTO, Use()),
    ],
)
def test_the_command_counts_then_the_file(metadata, asked, expected):
    assert use_of(metadata, 28, **dict(zip(KEYS, asked, strict=False))) == expected


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
    assert found("flowedit=true") == Use(skip=0.6, local=True, lean=0.5, flowedit=True)
    annotate_lora(lora.path, use=NOTED["use"] | {"flowedit": True})
    assert found() == Use(skip=0.6, local=True, lean=0.5, flowedit=True)
    assert not found("flowedit=false").flowedit
    with pytest.raises(ValueError, match="flowedit=soon: expected auto, true or false"):
        found("flowedit=soon")
    with pytest.raises(
        ValueError, match=r"local=yes: expected auto, true, pixels or false"
    ) as error:
        found("local='yes'", "schedule=soon")
    assert "schedule=soon: expected auto, flat, early, late, or a number from -1" in str(
        error.value
    )


def test_without_a_slider_there_is_nothing_to_use(tiny_overrides):
    with pytest.raises(ValueError, match="local=true: has no effect, because no lora is given"):
        plan_gen(composed("gen", "local=true", "skip=1", *tiny_overrides))


@pytest.fixture
def real(tmp_path, tiny_overrides):
    return [*tiny_overrides, "edit=real", f"image={picture(tmp_path / 'a.png')}"]


def test_sliders_edit_the_finished_picture_together_or_not_at_all(loras, tiny_overrides):
    first, second = (lora.path for lora in loras)
    annotate_lora(first, use={"flowedit": True})
    words = [f"lora=[{first},{second}]", *tiny_overrides]
    plan = plan_gen(composed("gen", *words))
    assert [use.flowedit for use in plan.uses] == [False, False]
    assert any(note.startswith(f"flowedit=false: {second} is used with it") for note in plan.notes)
    plan = plan_gen(composed("gen", *words, "flowedit=true"))
    assert [use.flowedit for use in plan.uses] == [True, True]
    assert not any("flowedit" in note for note in plan.notes)
    words[0] = f"lora=[{first},{{path: {second}, flowedit: true}}]"
    assert all(use.flowedit for use in plan_gen(composed("gen", *words)).uses)
    words[0] = f"lora=[{first},{{path: {second}, flowedit: 1}}]"
    with pytest.raises(ValueError, match=r"lora: flowedit 1 of .*: expected true or false"):
        plan_gen(composed("gen", *words))


def test_what_has_no_meaning_with_flowedit_is_refused(lora, real):
    annotate_lora(lora.path, use={"flowedit": True})
    words = [f"lora={lora.path}", *real]
    assert plan_gen(composed("gen", *words)).uses[0].flowedit
    with pytest.raises(ValueError, match=r"iterations=3: has no effect; flowedit=true needs no"):
        plan_gen(composed("gen", *words, "iterations=3"))
    assert plan_gen(composed("gen", *words, "iterations=3", "flowedit=false"))
    with pytest.raises(ValueError, match=r"flowedit=true: has no effect, because no lora is given"):
        plan_gen(composed("gen", "flowedit=true", *real))


def test_the_published_formula_does_not_edit_the_finished_picture(lora, real):
    annotate_lora(lora.path, use={"flowedit": True})
    real[-2] = "edit=real_published"
    words = [f"lora={lora.path}", *real, f"content_lora={lora.path}"]
    (use,) = plan_gen(composed("gen", *words)).uses
    assert not use.flowedit
    with pytest.raises(ValueError, match=r"flowedit=true: edit=real_published has a formula"):
        plan_gen(composed("gen", *words, "flowedit=true"))


@pytest.mark.parametrize(
    ("there", "asked", "alike"),
    [(None, False, True), (None, True, False), (True, True, True), (True, False, False)],
)
def test_a_calibration_holds_for_its_own_way(there, asked, alike):
    metadata = {"calibration": {"scale": 0.5} | ({} if there is None else {"flowedit": there})}
    rendering, use, notes = Rendering(), Use(flowedit=asked), []
    assert (known_unit(metadata, rendering, use, "flux-mini") == 0.5) == alike
    assert unit_of(metadata, Path("x"), rendering, use, notes) == 0.5
    said = f"x was calibrated at flowedit={bool(there)}, but this rendering has {asked}"
    assert notes == ([] if alike else [said])

"""What a report recommends is what the file notes, and what all that renders the slider uses."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pairedit.jobs import closing
from pairedit.lora.file import annotate_lora, inspect_lora
from pairedit.measure.subject import Unit
from pairedit.plan.recipe import recipe_of
from pairedit.plan.shown import shares_of


@pytest.fixture
def measured(monkeypatch):
    """Let the closing report find a scale, or none, whatever the slider does."""

    def find(unit, name="works", lost=None):
        honest = closing.measure_slider

        def measure(*args):
            result = honest(*args)
            verdict = replace(result.verdict, name=name, doubt="", lost_at=lost)
            return replace(result, unit=unit, verdict=verdict)

        monkeypatch.setattr(closing, "measure_slider", measure)

    return find


def last_command(out, name="disc"):
    """Return what the end of a training says of a scale: the sentence, and the command's words."""
    told, command = re.search(rf"^{name}: (.*?scale.*); to render it: (.*)$", out, re.M).groups()
    return told, shlex.split(command)


def exported(export, lora, hub):
    """Return what is said of a slider's workflow, the strength in it, and the slider's card."""
    code, said, err = export(f"lora={lora}", "out=x.safetensors", "workflow=true")
    assert code == 0, err
    workflow = json.loads(Path("x-workflow.json").read_text(encoding="utf-8"))
    assert export(f"lora={lora}", f"out={hub}", "card=true")[0] == 0
    card = (hub / "README.md").read_text(encoding="utf-8")
    return said, workflow["slider"]["inputs"]["strength_model"], card


def test_the_scale_that_a_report_recommends_is_noted_said_and_used_by_all(
    measured, train_disc, command, export, tiny_overrides, tmp_path
):
    measured(Unit(scale=1.3512, error=None, people=1))
    code, out, _ = train_disc(tmp_path / "run", "learning_rate=0.01")
    assert code == 0
    lora = tmp_path / "run/disc/semantic.safetensors"
    noted = inspect_lora(lora)["calibration"]
    assert (noted["scale"], noted["people"], "error" in noted) == (1.4, 1, False)
    report = lora.with_name("report.html").read_text(encoding="utf-8")
    assert "Scale 1.4 changes as much as the pairs differ (one person, no interval)" in report
    assert ">one pair</span>" in report
    told, (program, *words) = last_command(out)
    assert told == "scale 1.4 is worth one pair (one person, no interval)"
    assert "'scales=[0,1.4]'" in out, "zsh takes no brackets without quotes"
    assert (program, words[-2:]) == ("pairedit-gen", [f"lora={lora}", "scales=[0,1.4]"])
    assert set(words[:-2]) == {
        w for w in tiny_overrides if w.startswith(("model", "resolution", "device"))
    }
    code, _, err = command("gen", *words, "seeds=[0]", f"hydra.run.dir={tmp_path / 'gen'}")
    assert (code, err) == (0, ""), "it runs as it is printed"
    place = f"hydra.run.dir={tmp_path / 'usual'}"
    code, _, err = command("gen", f"lora={lora}", "seeds=[0]", place)
    assert (code, err) == (0, "")
    drawn = sorted(p.stem.split("scale")[1] for p in (tmp_path / "usual/images").glob("*.png"))
    assert drawn == ["+0", "+0.7", "+1.4", "+2.1", "-0.7"]
    said, strength, card = exported(export, lora, tmp_path / "hub")
    assert "is a guess" not in said
    assert strength == 1.4
    assert "**Scale 1.4** changes a picture as much as one training pair does (one person" in card
    assert "scale = 1.4  # worth one pair" in card


@pytest.mark.parametrize(("name", "lost"), [("unlike", None), ("off target", None), ("works", 1.2)])
def test_a_scale_that_is_not_recommended_is_not_noted(
    measured, trained, command, tmp_path, name, lost
):
    lora = trained(tmp_path / "run") / "disc/semantic.safetensors"
    annotate_lora(lora, calibration={"scale": 0.2})
    lora.with_name("report.json").unlink()
    measured(Unit(scale=1.35, error=None, people=1), name, lost)
    code, out, err = command("train", f"resume={tmp_path / 'run'}")
    assert code == 0, err
    assert "calibration" not in inspect_lora(lora)
    assert "scale 1.4" not in lora.with_name("report.html").read_text(encoding="utf-8")
    assert last_command(out)[0].startswith("no scale is known to be worth one pair; scale ")


def test_where_no_scale_is_known_all_begin_with_the_guess_of_the_preview(
    trained, export, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lora = trained(tmp_path / "run", "learning_rate=1e-9") / "disc/semantic.safetensors"
    assert "calibration" not in inspect_lora(lora)
    assert recipe_of(inspect_lora(lora)).guess == 1.0, "its preview went further than usual"
    assert recipe_of({}).guess == 0.4
    said, strength, card = exported(export, lora, tmp_path / "hub")
    assert "not calibrated, so the workflow's strength 1 is a guess; pairedit-eval lora=" in said
    assert strength == 1.0
    assert "Begin with 1, which is a guess, and try smaller and larger ones." in card
    assert "scale = 1  # a guess; try others" in card


def test_a_file_says_of_how_few_people_its_scale_is(trained, tmp_path):
    lora = trained(tmp_path / "run", "preview=false", "report=false") / "disc/semantic.safetensors"

    def hint():
        from safetensors import safe_open

        with safe_open(lora, framework="pt") as file:
            return file.metadata()["modelspec.usage_hint"]

    annotate_lora(lora, calibration={"scale": 1.4, "people": 1})
    assert hint().startswith(
        "Strength 1.4 changes an image as much as one pair does (from 1 person)"
    )
    annotate_lora(lora, calibration={"scale": 1.4, "people": 12, "error": 0.04})
    assert hint().startswith("Strength 1.4 changes an image as much as one pair does.")


def test_a_training_shows_the_scales_that_a_rendering_shows(monkeypatch, train_disc, tmp_path):
    honest = closing._choose

    def choose(*args):
        choice, entries = honest(*args)
        return replace(choice, unit=Unit(scale=0.4907, error=None, people=3)), entries

    monkeypatch.setattr(closing, "_choose", choose)
    code, out, _ = train_disc(tmp_path / "run", "learning_rate=0.01")
    assert code == 0
    told = re.search(r"image change at scale (.*) \(", out)[1]
    shown = [float(part.split(":")[0]) for part in told.split(", ")]
    # 0.49 is noted, and 0.49 is what pairedit-gen takes shares of.
    assert shown == [scale for scale in shares_of(0.49) if scale]

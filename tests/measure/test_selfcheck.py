"""What a training run says about its own slider."""

import json
import logging
import math
import re

import pytest

from composing import composed
from pairedit.jobs import shooting
from pairedit.jobs.train import run_training
from pairedit.lora.file import inspect_lora
from pairedit.measure.selfcheck import LANES, Update, further_lanes, update_of
from pairedit.measure.verdict import Verdict
from pairedit.plan.train import plan_train
from tiny import strong_lora


def test_training_ends_with_evidence(train_disc, tmp_path):
    code, out, err = train_disc(tmp_path / "a", "learning_rate=0.01")
    assert (code, err) == (0, "")
    modules = 2 * 8 + 2 * 3
    for role in ("content", "semantic"):
        assert re.search(
            rf"disc: {role} LoRA changes the weights of {modules} modules by [\d.e-]+ %", out
        )
    assert re.search(r"disc: image change at scale -0\.5: \+0\.0\d\d, 0\.5: .* \(\d seeds?\)", out)
    found = json.loads((tmp_path / "a/disc/report.json").read_text(), parse_constant=pytest.fail)
    assert f"disc: verdict {found['verdict']}" in out
    assert found["updates"]["semantic"]["norm"] > 0
    assert found["scales"] == [-0.5, 0, 0.5, 1, 1.5], "at the usual scales hardly anything shows"
    code, out, _ = train_disc(tmp_path / "b", "report=false")
    assert code == 0
    assert "verdict" not in out
    assert not list((tmp_path / "b/disc").glob("report.*"))
    assert "report: " not in out


def test_training_without_effect_is_called_so(train_disc, tmp_path, tiny_flux_folder):
    words = ["learning_rate=1e-9", "preview=false"]
    code, out, _ = train_disc(tmp_path / "a", *words)
    assert code == 0
    (line,) = [line for line in out.splitlines() if "verdict" in line]
    assert line.startswith("disc: verdict no-op: ")
    assert "raise learning_rate" in line
    lora = tmp_path / "a/disc/semantic.safetensors"
    model = f"model.path={tiny_flux_folder} model.max_sequence_length=32"
    typed = f"pairedit-gen {model} resolution=32 device=cpu lora={lora} 'scales=[0,1,1.5,2,3]'"
    assert f"({typed})" in line, "ready to be typed"
    assert f"(pairedit-train resume={tmp_path / 'a'} with a larger steps=)" in line
    assert "disc: little shows up to scale 0.6, so the report goes on to 1.5, and so does" in out
    assert inspect_lora(lora)["shown"] == [-0.5, 0, 0.5, 1, 1.5]
    report = (lora.parent / "report.html").read_text()
    assert "lora=FILE" in report
    assert "resume=RUN" in report
    assert str(tmp_path) not in report


@pytest.mark.parametrize(("name", "lost"), [("works", None), ("destructive", 0.2), ("weak", 0.4)])
def test_what_shows_or_loses_the_person_is_not_shown_further(
    train_disc, tmp_path, monkeypatch, name, lost
):
    found = Verdict(name=name, change=1.0, best=1.0, lost_at=lost, last=0.6)
    monkeypatch.setattr(shooting, "judge", lambda seen: found)
    code, out, _ = train_disc(tmp_path / "a", "preview=false")
    assert code == 0
    assert "little shows" not in out
    found = json.loads((tmp_path / "a/disc/report.json").read_text())
    assert found["scales"] == [-0.2, 0, 0.2, 0.4, 0.6]
    assert "shown" not in inspect_lora(tmp_path / "a/disc/semantic.safetensors")


@pytest.mark.heavy
def test_training_out_of_hand_is_called_so(tmp_path, caplog):
    config = composed("train", "steps=2", "learning_rate=1", "preview=false", "device=cpu")
    with caplog.at_level(logging.WARNING):
        run_training(plan_train(config, method_name="full"), tmp_path)
    (line,) = [message for message in caplog.messages if "verdict" in message]
    assert line.startswith("smile: verdict destructive: ")
    assert "lower learning_rate" in line


def test_the_norm_of_an_update(flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    squares = base = 0.0
    for module, (down, up) in lora.weights.items():
        squares += float((up @ down).square().sum())
        base += float(flux.transformer.get_submodule(module).weight.square().sum())
    found = update_of(lora, flux)
    assert found == Update(
        modules=len(lora.weights),
        norm=pytest.approx(math.sqrt(squares), rel=1e-4),
        share=pytest.approx(math.sqrt(squares / base), rel=1e-4),
    )


@pytest.mark.parametrize(
    ("spent", "each", "lanes", "training", "more"),
    [
        (3.2, 1.6, 2, 59, 1),
        (3.2, 1.6, 2, 10, 0),
        (1, 1, 1, 59, 4),
        (0.1, 0.1, 1, 600, LANES - 1),
        (2, 1, 1, 59, 3),  # rendered twice
    ],
)
def test_the_report_keeps_to_a_tenth_of_the_run(spent, each, lanes, training, more):
    assert further_lanes(spent, each, lanes, training) == more
    if more:
        assert spent + each * more <= 0.1 * training

"""What a training run says about its own slider."""

import json
import logging
import math
import re

import pytest

from composing import composed
from pairedit.jobs.train import run_training
from pairedit.measure.selfcheck import LANES, Update, further_lanes, update_of
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
    assert re.search(r"disc: image change at scale -0\.2: \+0\.0\d\d, 0\.2: .* \(\d seeds?\)", out)
    found = json.loads((tmp_path / "a/disc/report.json").read_text(), parse_constant=pytest.fail)
    assert f"disc: verdict {found['verdict']}" in out
    assert found["updates"]["semantic"]["norm"] > 0
    assert found["scales"] == [-0.2, 0, 0.2, 0.4, 0.6]
    code, out, _ = train_disc(tmp_path / "b", "report=false")
    assert code == 0
    assert "verdict" not in out
    assert not list((tmp_path / "b/disc").glob("report.*"))
    assert "report: " not in out


def test_training_without_effect_is_called_so(train_disc, tmp_path):
    words = ["learning_rate=1e-9", "preview=false"]
    code, out, _ = train_disc(tmp_path / "a", *words)
    assert code == 0
    (line,) = [line for line in out.splitlines() if "verdict" in line]
    assert line.startswith("disc: verdict no-op: ")
    assert "raise learning_rate" in line


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
    ("spent", "lanes", "training", "more"),
    [(3.2, 2, 59, 1), (3.2, 2, 10, 0), (1, 1, 59, 4), (0.1, 1, 600, LANES - 1)],
)
def test_the_report_keeps_to_a_tenth_of_the_run(spent, lanes, training, more):
    assert further_lanes(spent, lanes, training) == more
    if more:
        assert spent / lanes * (lanes + more) <= 0.1 * training

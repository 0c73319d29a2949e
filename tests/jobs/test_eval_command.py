"""pairedit-eval end to end on the tiny model."""

import json
import logging
import re
from pathlib import Path

import pytest

from pairedit.bases.flux1.names import NAMES
from pairedit.data.examples import find_pairs
from pairedit.data.images import read_image
from pairedit.lora.file import inspect_lora, write_lora
from pairedit.measure.table import heads
from tiny import strong_lora

QUICK = ["seeds=[3,5,8]", "scales=[0.5,1]", "skip=1", "reader=[probe,dino]"]


@pytest.fixture
def sweep(train_disc, tmp_path):
    """Train two methods on the discs, and leave a job that failed."""
    for method in ("wocontent", "sliders"):
        words = [f"method={method}", "learning_rate=0.3", "preview=false"]
        code, _, err = train_disc(tmp_path / "sweep" / method, *words)
        assert (code, err) == (0, "")
    failed = tmp_path / "sweep" / "failed"
    failed.mkdir()
    (failed / "config.yaml").write_text("datasets: {}\n")
    return tmp_path / "sweep"


def test_a_sweep_becomes_one_report(command, sweep, tmp_path):
    before = {path: path.read_bytes() for path in sweep.glob("*/disc/semantic.safetensors")}
    words = [f"sweep={sweep}", *QUICK, f"hydra.run.dir={tmp_path / 'eval'}"]
    code, out, err = command("eval", *words)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"report: {tmp_path / 'eval/report.html'}"
    assert f"{sweep / 'failed'}: holds no slider; the job failed" in out
    assert "not measured by probe: no probe.safetensors" in out
    assert "not measured by dino: readers.dino.path=" in out
    assert re.search(r"^disc +sliders +\S+", out, re.M)
    none = r"sliders on disc: no scale is worth one pair: up to 1 the slider gets to \d+ %"
    assert re.search(none, out)
    names = {path.name for path in (tmp_path / "eval").iterdir()}
    assert {"report.html", "eval.json", "curves.png", "sheets", "config.yaml"} <= names
    assert read_image(tmp_path / "eval/curves.png").width > 400

    text = (tmp_path / "eval/eval.json").read_text()
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["settings"]["seeds"] == [3, 5, 8]
    assert [(s["edit"], s["slider"]) for s in found["sliders"]] == [
        ("disc", "sliders"),
        ("disc", "wocontent"),
    ]
    for slider in found["sliders"]:
        assert slider["scales"] == [0, 0.5, 1], "0 was added"
        change = slider["measures"]["image change"]["mean"]
        assert change[0] == 0 < change[1] < change[2]
        assert "no probe.safetensors" in slider["missing"]["target"]
        assert "readers.dino.path" in slider["missing"]["dino distance"]
        assert slider["verdict"] in out
        run = Path(slider["lora"]).parent.parent
        assert f"train longer (pairedit-train resume={run} with" in out
    assert "resume=RUN" not in out
    assert found["table"]["heads"] == list(heads())

    page = (tmp_path / "eval/report.html").read_text()
    assert page.count("<details><summary>") == 2 + 1, "of each slider, and the definitions"
    assert page.count("<svg") >= 2, "effect and cost"
    assert len(re.findall(r"<figure><img alt='seed \d|<figure><img alt='base", page)) >= 1
    assert "Loss of the training" in page, "from the folders of the runs"
    assert "compare the heights of one method only" in page
    assert "readers.dino.path" in page, "somebody asked for it"
    # Too weak to be calibrated: the files are as they were.
    assert {path: path.read_bytes() for path in before} == before


def test_lists_overrides_and_trackers(command, pair_folder, flux, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "")
    loras = [strong_lora(flux, tmp_path / f"{n}/x.safetensors", seed=n).path for n in (1, 2)]
    words = [f"lora=[{loras[0]},{loras[1]}]", *QUICK, "match=0.01", f"pairs={pair_folder}"]
    place = tmp_path / "eval"
    code, _, err = command("eval", *words, "tracker=wandb", f"hydra.run.dir={place}")
    logging.getLogger("wandb").handlers.clear()
    assert (code, err) == (0, ""), err
    sliders = json.loads((place / "eval.json").read_text())["sliders"]
    assert [s["edit"] for s in sliders] == ["1", "2"], "their folders"
    for slider in sliders:
        assert slider["measures"]["matched scale"]["mean"] < 0.5
    (run,) = (place / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    media = {path.name.split("_")[0] for path in (run / "files/media").rglob("*.*")}
    assert {"curves", "sliders", "1", "2"} <= media


def test_an_evaluation_calibrates(command, flux, pair_folder, tmp_path):
    lora = strong_lora(flux, tmp_path / "disc/x.safetensors")
    # Pairs that hardly differ, so that a random LoRA is worth one of them.
    pairs = tmp_path / "close"
    for side, shade in (("source", 100), ("target", 104)):
        (pairs / side).mkdir(parents=True)
        image = read_image(find_pairs(pair_folder)[0].source).point(lambda v, s=shade: v * s // 104)
        image.save(pairs / side / "a.png")
    words = [f"lora={lora.path}", f"pairs={pairs}", *QUICK, f"hydra.run.dir={tmp_path / 'e'}"]
    code, _, err = command("eval", *words, "scales=[0.1,1]", "calibrate=false")
    assert code == 0, err
    assert "calibration" not in inspect_lora(lora.path)
    code, _, err = command("eval", *words, "scales=[0.1,1]")
    assert (code, err) == (0, "")
    known = inspect_lora(lora.path)["calibration"]
    (slider,) = json.loads((tmp_path / "e/eval.json").read_text())["sliders"]
    assert known["scale"] == slider["measures"]["calibration"]["mean"]
    assert 0 < known["scale"] < 1
    assert (known["skip"], known["people"]) == (1, 3)
    # A published file has no place for a note.
    published = tmp_path / "disc/x.pt"
    write_lora(published, lora.weights, {}, "published", NAMES)
    words[0] = f"lora={published}"
    content = published.read_bytes()
    code, out, err = command("eval", *words, "scales=[0.1,1]")
    assert (code, err) == (0, "")
    assert f"{published}: holds no metadata" in out
    assert published.read_bytes() == content

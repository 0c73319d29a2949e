"""pairedit-eval end to end on the tiny model, and what a training run ends with."""

# ruff: noqa: F811, pytest passes fixtures under their own names
import json
import logging
import math
import re
import runpy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from pairedit.bases.flux1.flux import load
from pairedit.bases.flux1.names import NAMES
from pairedit.data.examples import find_pairs
from pairedit.data.images import read_image
from pairedit.files import locate
from pairedit.jobs.train import run_training
from pairedit.lora.file import annotate_lora, inspect_lora, read_lora, write_lora
from pairedit.measure.evaluate import Setting, Subject, evaluate, open_readers, render
from pairedit.measure.readers import AttributeProbe
from pairedit.measure.selfcheck import LANES, Update, further_lanes, update_of
from pairedit.measure.table import HEADS
from pairedit.pictures.png import read_metadata
from pairedit.plan.eval import find_sliders, origin
from pairedit.plan.train import plan_train
from pairedit.sample import Slider, generate
from test_config import composed
from test_jobs import command, train_disc  # noqa: F401
from test_sample import strong_lora

QUICK = ["seeds=[3,5,8]", "scales=[0.5,1]", "skip=1", "reader=[probe,dino]"]


@pytest.fixture
def sweep(command, pair_folder, tmp_path):
    """Train two methods on the discs, and leave a job that failed."""
    for method in ("wocontent", "sliders"):
        words = [f"method={method}", "learning_rate=0.3", "preview=false"]
        code, _, err = train_disc(command, pair_folder, tmp_path / "sweep" / method, *words)
        assert (code, err) == (0, "")
    failed = tmp_path / "sweep" / "failed"
    failed.mkdir()
    (failed / "config.yaml").write_text("datasets: {}\n")
    return tmp_path / "sweep"


class References(HTMLParser):
    """Collect every attribute that makes a browser load or follow something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images = 0

    def handle_starttag(self, tag, attrs):
        self.images += tag == "img"
        assert tag not in ("script", "link", "iframe"), tag
        known = ("src", "href", "srcset", "action", "data")
        self.found += [value for name, value in attrs if name in known]


def test_a_sweep_becomes_one_report(command, sweep, tmp_path):
    before = {path: path.read_bytes() for path in sweep.glob("*/disc/semantic.safetensors")}
    words = [f"sweep={sweep}", *QUICK, f"hydra.run.dir={tmp_path / 'eval'}"]
    code, out, err = command("eval", *words)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"report: {tmp_path / 'eval/report.html'}"
    assert f"{sweep / 'failed'}: no slider, the job failed" in out
    assert "not measured by probe: no probe.safetensors" in out
    assert "not measured by dino: readers.dino.path=" in out
    assert re.search(r"^disc +sliders +\S+", out, re.M)
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
    assert found["table"]["heads"] == list(HEADS)

    page = (tmp_path / "eval/report.html").read_text()
    references = References()
    references.feed(page)
    assert references.images == 1 + 2 + 2, "a sheet, two panels, the scales of each slider"
    assert all(value.startswith("data:image/") for value in references.found)
    assert not re.search(r"url\(|@import|https?://", page)
    assert "width=device-width" in page
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


def test_sliders_rendered_together_are_those_rendered_alone(flux, tmp_path):
    subjects = [
        Subject(
            lora=strong_lora(flux, tmp_path / f"{n}.safetensors", seed=n, rank=n + 1),
            label=str(n),
            dataset="x",
            pairs=[],
            attribute=None,
            skip=skip,
        )
        for n, skip in enumerate((2, 2, 1))
    ]
    common = {
        "prompts": ["old"],
        "seeds": [4, 6],
        "num_inference_steps": 5,
        "guidance_scale": 3.5,
        "resolution": 32,
        "batch_size": 3,
    }
    scales = [(-0.5, 0.0, 1.0), (0.0, 0.7), (1.0,)]
    together = {}
    for owners, sample in render(flux, subjects, scales, Setting(**common)):
        for owner in owners:
            together[owner, sample.seed, sample.scales[0]] = sample.image
    assert len(together) == 2 * (3 + 2 + 1)
    for index, (subject, own) in enumerate(zip(subjects, scales, strict=True)):
        sliders = [Slider(lora=subject.lora, scales=own)]
        for sample in generate(flux, sliders=sliders, skip=subject.skip, **common):
            pair = (sample.image, together[index, sample.seed, sample.scales[0]])
            left, right = (np.asarray(image).astype(int) for image in pair)
            assert abs(left - right).max() <= 1


def test_annotating_keeps_the_weights_bytes(flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    content = lora.path.read_bytes()
    offset = 8 + int.from_bytes(content[:8], "little")
    for entries in ({"calibration": {"scale": 0.3}}, {"note": "é" * 77}, {"calibration": None}):
        annotate_lora(lora.path, **entries)
        changed = lora.path.read_bytes()
        start = 8 + int.from_bytes(changed[:8], "little")
        assert changed[start:] == content[offset:]
        assert start % 8 == 0
        for name, value in entries.items():
            assert inspect_lora(lora.path).get(name) == value
    assert inspect_lora(lora.path)["base_model"] == "tiny"
    with safe_open(lora.path, framework="pt") as file:
        assert "pairedit" in file.metadata()


def test_a_calibrated_slider_counts_in_pairs(command, flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    words = [f"lora={lora.path}", "seeds=[5]", "skip=1"]
    code, _, err = command("gen", *words, "calibrated=true")
    assert code == 1
    assert f"{lora.path} holds no calibration; pairedit-eval lora={lora.path}" in err
    for scale in (float("nan"), -1.0, True, "1"):
        annotate_lora(lora.path, calibration={"scale": scale})
        assert "holds no calibration" in command("gen", *words, "calibrated=true")[2]
    annotate_lora(lora.path, calibration={"scale": 0.4, "skip": 2})
    place = [f"hydra.run.dir={tmp_path / name}" for name in ("plain", "pairs")]
    assert command("gen", *words, "scales=[0.4,0.8]", place[0])[0] == 0
    code, out, err = command("gen", *words, "scales=[1,2]", "calibrated=true", place[1])
    assert (code, err) == (0, "")
    assert "was calibrated at skip=2, this is 1" in out
    plain, pairs = (sorted((tmp_path / name / "images").iterdir()) for name in ("plain", "pairs"))
    assert [path.name.split("scale")[1] for path in pairs] == ["+1.png", "+2.png"]
    for left, right in zip(plain, pairs, strict=True):
        assert read_image(left).tobytes() == read_image(right).tobytes()
        # What is written down renders it again without any calibration.
        scales = [float(read_metadata(path)["lora.0.scale"]) for path in (left, right)]
        assert scales[0] == pytest.approx(scales[1])


def test_a_scale_too_large_to_render_is_named(command, flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    words = [f"lora={lora.path}", "seeds=[5]", "skip=1", f"hydra.run.dir={tmp_path / 'out'}"]
    code, _, err = command("gen", *words, "scales=[0,1e38]")
    assert code == 1
    assert err.startswith("error: scale 1e+38: ")
    assert err.endswith("try smaller scales\n")


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
    assert (known["skip"], known["seeds"]) == (1, 3)
    # A published file has no place for a note.
    published = tmp_path / "disc/x.pt"
    write_lora(published, lora.weights, {}, "published", NAMES)
    words[0] = f"lora={published}"
    content = published.read_bytes()
    code, out, err = command("eval", *words, "scales=[0.1,1]")
    assert (code, err) == (0, "")
    assert f"{published}: holds no metadata" in out
    assert published.read_bytes() == content


def test_training_ends_with_evidence(command, pair_folder, tmp_path):
    code, out, err = train_disc(command, pair_folder, tmp_path / "a", "learning_rate=0.01")
    assert (code, err) == (0, "")
    modules = 2 * 8 + 2 * 3
    for role in ("content", "semantic"):
        assert re.search(rf"disc: {role} LoRA on {modules} modules, update norm [\d.e-]+ \(", out)
    assert re.search(r"disc: image change at scale 0\.2: \+0\.0\d\d, 0\.4: .* \(\d seeds?\)", out)
    found = json.loads((tmp_path / "a/disc/report.json").read_text(), parse_constant=pytest.fail)
    assert f"disc: verdict {found['verdict']}" in out
    assert found["updates"]["semantic"]["norm"] > 0
    assert found["scales"] == [0, 0.2, 0.4, 0.6]
    code, out, _ = train_disc(command, pair_folder, tmp_path / "b", "report=false")
    assert code == 0
    assert "verdict" not in out
    assert not (tmp_path / "b/disc/report.json").exists()


def test_training_without_effect_is_called_so(command, pair_folder, tmp_path):
    words = ["learning_rate=1e-9", "preview=false"]
    code, out, _ = train_disc(command, pair_folder, tmp_path / "a", *words)
    assert code == 0
    (line,) = [line for line in out.splitlines() if "verdict" in line]
    assert line.startswith("disc: verdict no-op: ")
    assert "raise learning_rate" in line


@pytest.mark.slow
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


def test_where_a_slider_comes_from(tmp_path):
    entry = {"folder": "/x/my_edit", "name": None, "attribute": "age"}
    metadata = {"dataset": "my_edit", "config": {"datasets": {"folder": entry}}}
    assert origin(metadata).attribute == "age"
    assert origin({"dataset": "other", "config": metadata["config"]}) is None
    assert origin({}) is None
    for lie in ({"attribute": ["age"]}, {"source": 5}, {"target": "a\x00b"}, {"folder": {}}):
        told = {**metadata, "config": {"datasets": {"folder": {**entry, **lie}}}}
        assert origin(told) is None
    for name in ("job1/age", "job2/age", "single"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "semantic.safetensors").write_bytes(b"")
        (tmp_path / name / "content.safetensors").write_bytes(b"")
    found = find_sliders(None, str(tmp_path), [])
    assert [path.parent.relative_to(tmp_path).as_posix() for path in found] == [
        "single",
        "job1/age",
        "job2/age",
    ]


@pytest.mark.slow
def test_changed_loras_are_called_what_they_are(smile):
    """Nothing, 50 times as much, the opposite: a slider of flux-mini that really was trained."""
    lora = read_lora(smile)
    factors = {"no-op": 0.0, "destructive": 50.0, "reversed": -1.0}
    subjects = [
        Subject(
            lora=replace(lora, weights={m: (a, factor * b) for m, (a, b) in lora.weights.items()}),
            label=verdict,
            dataset="smile",
            pairs=find_pairs(locate("pkg://data/smile")),
            attribute=None,
            skip=11,
        )
        for verdict, factor in factors.items()
    ]
    place = locate("pkg://flux_mini")
    readers, missing = open_readers(
        {"probe": AttributeProbe()}, model=place, resolution=128, device="cpu"
    )
    results = evaluate(
        load(str(place), device="cpu", precision="float32", max_sequence_length=32),
        subjects,
        scales=(1.0,),
        setting=Setting(
            prompts=["image of a person"],
            seeds=[0, 1],
            num_inference_steps=28,
            guidance_scale=3.5,
            resolution=128,
            batch_size=8,
        ),
        readers=readers,
        missing=missing,
    )
    for result in results:
        assert result.seen.attribute == "smile", "read from the pairs"
        assert result.verdict.name == result.subject.label, result.verdict
        assert result.verdict.advice


def test_the_page_is_filled_from_an_evaluation():
    script = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "ablation_page.py"))
    page = "a\n<!-- methods table: begin -->\nold\n<!-- methods table: end -->\nz\n"
    expected = page.replace("old\n", "new\n")
    assert script["fill"](page, "table", "new\n") == expected
    assert script["fill"](page, "sheets", "new\n") == page
    for name in ("docs/ablation.md", "README.md"):
        text = (Path(__file__).parents[1] / name).read_text()
        filled = script["fill"](text, "table", "THE TABLE\n")
        assert filled.count("THE TABLE") == 1, name
        assert script["fill"](filled, "table", "THE TABLE\n") == filled

"""pairedit-train end to end on the tiny model: what it leaves behind."""

import json
import logging

import numpy as np
import yaml

from pairedit.bases.flux1.load import load
from pairedit.data.images import read_image
from pairedit.lora.file import read_lora
from pairedit.pictures.png import read_metadata
from pairedit.plan.eval import attribute_of
from tiny import QUICK, write_pairs


def test_train_then_gen(command, train_disc, tmp_path):
    code, out, err = train_disc(tmp_path / "a", "save_every=1", "snapshots=true")
    assert (code, err) == (0, "")
    path = tmp_path / "a/disc/semantic.safetensors"
    report = path.with_name("report.html")
    lora, scale, last = out.splitlines()[-3:]
    assert (lora, last) == (f"disc: lora={path}", f"disc: report: {report}")
    assert scale.startswith("disc: no scale is known to be worth one pair; scale 1 is a guess")
    assert "<title>disc slider</title>" in report.read_text(encoding="utf-8")
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "content-000001.safetensors",
        "content-000002.safetensors",
        "content.safetensors",
        "loss.png",
        "metrics.jsonl",
        "pairs.png",
        "preview.png",
        "report.html",
        "report.json",
        "semantic-000001.safetensors",
        "semantic-000002.safetensors",
        "semantic.safetensors",
        "state",
    ]
    resolved = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
    assert resolved["resolution"] == 32
    metadata = read_lora(path).metadata
    assert metadata["config"] == resolved
    assert (metadata["base_model"], metadata["method"]) == ("flux-mini", "graded")

    words = [f"lora={path}", "scales=[0,0.8,1.2]", "skip=1", "seeds=[4,9]", "animate=true"]
    code, out, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'b'}")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == f"sheet: {tmp_path / 'b/sheet.png'}"
    images = sorted((tmp_path / "b/images").iterdir())
    assert [image.name for image in images] == [
        f"prompt00_seed00000{seed}_scale{scale}.png"
        for seed in (4, 9)
        for scale in ("+0.8", "+0", "+1.2")
    ]
    assert len(list((tmp_path / "b/animations").iterdir())) == 2
    sheet = read_image(tmp_path / "b/sheet.png")
    assert sheet.width > 3 * 32
    assert sheet.height > 2 * 32
    notes = read_metadata(images[0])
    assert notes["lora.0.path"] == str(path)
    assert notes["lora.0.sha256"] == read_lora(path).sha256

    # Everything needed to render it again is inside the PNG.
    words = [
        f"lora={{path: {notes['lora.0.path']}, scales: [{notes['lora.0.scale']}]}}",
        f"seeds={notes['seed']}",
        f"prompts=['{notes['prompt']}']",
        f"skip={notes['skip']}",
        f"guidance_scale={notes['guidance_scale']}",
    ]
    code, _, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'c'}")
    assert (code, err) == (0, "")
    (again,) = (tmp_path / "c/images").iterdir()
    left, right = (np.asarray(read_image(path)).astype(int) for path in (again, images[0]))
    assert abs(left - right).max() <= 1


def test_the_jobs_of_a_sweep_load_the_base_model_once(command, pair_folder, tmp_path):
    load.cache_clear()
    words = ["-m", "method=full,wocontent", "dataset=folder", f"pairs={pair_folder}"]
    words += [*QUICK, "preview=false", "report=false", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert command("train", *words)[0] == 0
    paths = sorted(tmp_path.glob("sweep/*/disc/semantic.safetensors"))
    assert len(paths) == 2
    assert load.cache_info().misses == 1
    load.cache_clear()  # a rendering compiles where so short a training does not
    words = ["-m", "skip=0,1", f"lora={paths[0]}", "seeds=[0]", f"hydra.sweep.dir={tmp_path / 'b'}"]
    assert command("gen", *words)[0] == 0
    assert len(list(tmp_path.glob("b/*/sheet.png"))) == 2
    assert load.cache_info().misses == 1


def test_two_datasets_one_model_and_the_same_loras_as_alone(command, pair_folder, tmp_path):
    load.cache_clear()
    other = write_pairs(tmp_path / "other", count=1, side=48)
    words = [
        "dataset=[folder,age]",
        f"datasets.age.folder={other}",
        f"pairs={pair_folder}",
        *QUICK,
        "preview=false",
    ]
    code, out, err = command("train", *words, f"hydra.run.dir={tmp_path / 'both'}")
    assert (code, err) == (0, "")
    assert load.cache_info().misses == 1
    assert [line.split(":")[0] for line in out.splitlines()[-2:]] == ["disc", "age"]
    words[0], words[1] = "dataset=age", f"datasets.age.folder={other}"
    words.remove(f"pairs={pair_folder}")
    assert command("train", *words, f"hydra.run.dir={tmp_path / 'one'}")[0] == 0
    both, one = (read_lora(tmp_path / run / "age/semantic.safetensors") for run in ("both", "one"))
    for module, (down, up) in one.weights.items():
        assert np.array_equal(down, both.weights[module][0])
        assert np.array_equal(up, both.weights[module][1])


def test_same_command_same_bytes(train_disc, tmp_path):
    for run in ("a", "b"):
        assert train_disc(tmp_path / run, "preview=false")[0] == 0
    first, second = (tmp_path / run / "disc/semantic.safetensors" for run in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_a_sweep_goes_on_after_a_failing_job_and_names_it(command, pair_folder, tmp_path):
    load.cache_clear()
    code, out, err = command(
        "train",
        "-m",
        "method=wocontent,sliders",
        "learning_rate=1e-3,1e30",
        "dataset=folder",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
        f"+pairs={pair_folder}",
        "steps=6",
        "lora.rank=1",
        "preview=false",
    )
    assert load.cache_info().misses == 1
    folders = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    finished = {path: (path / "disc/semantic.safetensors").exists() for path in folders}
    assert len(folders) == 4
    assert sum(finished.values()) == 2
    assert code == 1
    assert err.startswith("error: 2 jobs failed:\n")
    failed = [path for path, done in finished.items() if not done]
    assert all("learning_rate-1e+30" in path.name for path in failed)
    for path in folders:
        assert (path / "config.yaml").exists()
        assert (str(path) in err) is (path in failed)
        assert not set(path.name) & set("=,/")
    assert "the loss is" in err
    assert "Traceback" not in out + err


def test_a_single_failure_is_one_line(train_disc, tmp_path):
    code, _, err = train_disc(tmp_path / "a", "learning_rate=1e30", "steps=9")
    assert code == 1
    assert err.startswith("error: disc: the loss is")
    assert err.count("\n") == 1


def test_wandb_offline_needs_no_account(train_disc, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "")
    code, _, err = train_disc(tmp_path / "a", "tracker=wandb", "preview=false")
    assert code == 0, err
    assert list((tmp_path / "a/disc/wandb").glob("offline-run-*/*.wandb"))
    lines = (tmp_path / "a/disc/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    logging.getLogger("wandb").handlers.clear()


def test_the_command_trains_from_prompts(command, tmp_path):
    words = ["method=slider_text", "steps=2", "lora.rank=2", f"hydra.run.dir={tmp_path / 'a'}"]
    positive = "datasets.text.positive='very old'"
    code, _, err = command(
        "train",
        "dataset=[text_smile,text]",
        positive,
        "datasets.text.negative=young",
        "datasets.text.preserve=[hat]",
        *words,
    )
    assert (code, err) == (0, "")
    for name in ("text_smile", "text"):
        lora = read_lora(tmp_path / f"a/{name}/semantic.safetensors")
        assert lora.metadata["method"] == "slider_text"
        assert any(up.any() for _, up in lora.weights.values())
        assert (tmp_path / f"a/{name}/preview.png").exists()
    assert lora.metadata["config"]["datasets"]["text"]["preserve"] == ["hat"]
    assert attribute_of(lora.metadata) is None
    smile = read_lora(tmp_path / "a/text_smile/semantic.safetensors")
    assert attribute_of(smile.metadata) == "smile"

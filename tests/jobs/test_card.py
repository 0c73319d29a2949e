"""A folder for a model hub: its card, its pictures, its lines of Python, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from pairedit.bases.flux1.names import NAMES
from pairedit.files import CONF, locate
from pairedit.lora.file import annotate_lora, inspect_lora, write_lora
from pairedit.measure import measures
from tiny import write_pairs

AGE = locate("pkg://data/sliders/age.safetensors")


def written(folder: Path, **notes) -> Path:
    """Write the slider of a training on FLUX.1-dev, where the training would put it."""
    pair = (torch.ones(2, 8), torch.ones(8, 2))
    config = {
        "model": {"name": "flux-dev", "skip": 11, "prompt": 'a "man"', "path": "/models/dev"},
        "num_inference_steps": 28,
        "guidance_scale": 3.5,
        "resolution": 64,
        "size": "fit",
        "datasets": {"hat": {"name": "hat", "folder": str(folder / "my/hat")}},
    }
    path = folder / "run/hat/semantic.safetensors"
    path.parent.mkdir(parents=True)
    about = {"base_model": "flux-dev", "dataset": "hat", "method": "graded", "config": config}
    write_lora(path, {"transformer_blocks.0.attn.to_q": pair}, about | notes, names=NAMES)
    return path


def test_a_run_of_flux_dev_with_everything(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {"scale": 0.4, "interval": [0.3, 0.5], "skip": 14, "sigma": 0.6}
    lora = written(tmp_path, role="semantic", calibration={**known, "num_inference_steps": 28})
    write_pairs(tmp_path / "my/hat", side=96)
    Image.new("RGB", (40, 20), "red").save(lora.with_name("preview.png"))
    evaluated = {
        "settings": {"seeds": [0, 1, 2], "model": "flux-dev"},
        "measures": {measures.usable_from.name: "Where it begins."},
        "sliders": [
            {
                "lora": str(lora),
                "verdict": "works",
                "attribute": "hat",
                "measures": {
                    measures.usable_from.name: {"mean": 0.08, "low": 0.05, "high": None},
                    measures.calibration.name: {"mean": 0.4123, "low": 0.3, "high": 0.5},
                    measures.share.name: {"mean": [0, 1], "low": [0, 1], "high": [0, 1]},
                },
            }
        ],
    }
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/eval.json").write_text(json.dumps(evaluated))
    code, out, err = export(f"lora={lora}", "card=true", "out=hub/hat", "show=eval", "layout=kohya")
    assert (code, err) == (0, "")
    folder = tmp_path / "hub/hat"
    assert "not in the card" not in out
    assert out.splitlines()[-1] == "upload: hf upload USER/NAME hub/hat"
    assert "blob/main/LICENSE.md as LICENSE.md there" in out
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pictures = {"images/pairs.png", "images/sheet.png"}
    assert files == {"README.md", "hat.safetensors", "workflow.json", *pictures}
    card = ModelCard.load(folder / "README.md")
    said = card.data.to_dict()
    assert said["base_model"] == "black-forest-labs/FLUX.1-dev"
    assert (said["license"], said["license_name"]) == (
        "other",
        "flux-1-dev-non-commercial-license",
    )
    assert said["license_link"].startswith("https://huggingface.co/black-forest-labs/FLUX.1-dev/")
    assert said["widget"] == [{"text": 'a "man"', "output": {"url": "images/sheet.png"}}]
    for words in (
        "from 2 pairs of images",
        "(95 % interval: 0.3 to 0.5)",
        "step 14 of 28 on, which is noise level 0.6",
        f"| {measures.usable_from.name} | 0.08 | Where it begins. |",
        f"| {measures.calibration.name} | 0.41 (0.3 to 0.5) |  |",
        "rendered 3 seeds of flux-dev. Verdict: **works**",
        "does not allow commercial use of the model",
        "licensed by Black Forest Labs",
        r'prompt="a \"man\"",',
    ):
        assert words in card.text, words
    assert measures.share.name not in card.text  # a curve is no number
    workflow = json.loads((folder / "workflow.json").read_text())
    assert workflow["slider"]["inputs"] == {"lora_name": "hat.safetensors", "strength_model": 0.4}
    # Nobody is told where things lie on this machine; all else is as it was.
    there, here = (inspect_lora(path, NAMES) for path in (folder / "hat.safetensors", lora))
    assert str(tmp_path) not in (folder / "hat.safetensors").read_bytes().decode("latin-1")
    assert there["config"]["model"]["path"] == "dev"
    assert there["calibration"] == here["calibration"]


def test_the_card_has_no_interval_of_few_people_and_no_scales_of_what_does_not_work(
    export, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lora = written(tmp_path, role="semantic", calibration={"scale": 0.4, "people": 3})
    found = {"mean": 0.08, "low": None, "high": None}

    def card(verdict, **values):
        known = {"lora": str(lora), "verdict": verdict, "attribute": None, "scales": [0, 1]}
        known["measures"] = {measures.usable_from.name: {**found, **values}}
        content = {"settings": {"seeds": [0, 1, 2], "model": "flux-dev"}, "sliders": [known]}
        (tmp_path / "eval.json").write_text(json.dumps(content))
        hub = f"hub-{verdict}-{len(values)}"
        code, _, err = export(f"lora={lora}", "card=true", f"out={hub}", f"show={tmp_path}")
        assert (code, err) == (0, "")
        return (tmp_path / hub / "README.md").read_text()

    few = card("works")
    assert "There is no interval of so few seeds (3)." in few
    assert "95 %" not in few
    assert "Usable scales begin at 0.08. Nothing has read where they end." in few
    assert "In brackets are 95 % intervals." in card("works", low=0.07, high=0.09)
    assert "Usable scales" not in card("weak")


@pytest.mark.parametrize("finished", [True, False])
def test_the_card_says_how_sure_the_scale_is_and_in_which_use_it_was_found(
    export, tmp_path, monkeypatch, finished
):
    monkeypatch.chdir(tmp_path)
    known = {"scale": 0.4, "error": 0.06, "people": 60, "skip": 14, "num_inference_steps": 28}
    lora = written(tmp_path, calibration=known | {"flowedit": finished})
    code, _, _ = export(f"lora={lora}", "card=true", "out=hub")
    assert code == 0
    text = (tmp_path / "hub/README.md").read_text()
    assert "changes a picture as much as one training pair does ± 6 % (60 people)." in text
    assert ("It was found with `flowedit=true` of pairedit" in text) is finished
    found = " with flowedit=true of pairedit" * finished
    assert f"scale = 0.4  # worth one pair{found}; 0 is the base model\n" in text


def test_what_nobody_recorded_is_left_out_and_said(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair = (torch.ones(2, 8), torch.ones(8, 2))
    write_lora(tmp_path / "some hat.safetensors", {"transformer_blocks.0.attn.to_q": pair}, {})
    code, out, err = export("lora=some hat.safetensors", "card=true", "out=hub")
    assert (code, err) == (0, "")
    missing = re.findall(r"^not in the card: (.*?):", out, re.M)
    assert missing == [
        "the pairs",
        "a sheet",
        "the scale that is worth one pair",
        "measured figures",
        "the base model",
    ]
    card = ModelCard.load(tmp_path / "hub/README.md")
    said = card.data.to_dict()
    assert not {"base_model", "base_model_relation", "license", "widget"} & set(said)
    assert "Nobody has measured" in card.text
    assert "licence of the base model is not known" in card.text
    assert "python" not in card.text
    files = {path.name for path in (tmp_path / "hub").iterdir()}
    assert files == {"some-hat.safetensors", "README.md"}


def test_a_text_slider_names_its_words(export, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lora = written(tmp_path)
    config = inspect_lora(lora, NAMES)["config"]
    words = {"name": "hat", "positive": "a man in a hat", "negative": "a man"}
    annotate_lora(lora, config={**config, "datasets": {"hat": words}})
    code, out, _ = export(f"lora={lora}", "card=true", "out=hub")
    assert code == 0
    assert "not in the card: the pairs" not in out
    text = (tmp_path / "hub/README.md").read_text()
    assert 'from "a man" to "a man in a hat"' in text


def test_renderings_become_a_gallery(command, export, lora, tmp_path):
    annotate_lora(lora.path, base_model="flux-mini", dataset="age")
    words = [f"lora={lora.path}", "scales=[0,0.5,1]", "seeds=[0,1,2]", "skip=0"]
    code, _, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'gen'}")
    assert (code, err) == (0, "")
    code, out, err = export(f"lora={lora.path}", "card=true", "out=hub", "show=gen")
    assert (code, err) == (0, "")
    assert "images/: the first 8 of 9 renderings, 1 left out" in out
    card = ModelCard.load(tmp_path / "hub/README.md")
    gallery = card.data.to_dict()["widget"]
    assert len(gallery) == 8
    assert "<Gallery />" in card.text
    assert gallery[1]["text"].endswith("(seed 0, scale 0.5)")
    with Image.open(tmp_path / "hub" / gallery[1]["output"]["url"]) as image:
        assert image.text == {}  # names of this machine's folders
        (source,) = (tmp_path / "gen/images").glob("*seed000000*+0.5.png")
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(source)))
    # Of another slider there is nothing to show.
    other = shutil.copy(AGE, tmp_path / "other.safetensors")
    code, _, err = export(f"lora={other}", "card=true", "out=hub2", "show=gen")
    assert code == 1
    assert "show=gen: no image there was drawn by" in err
    assert not (tmp_path / "hub2").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["lora={lora}", "card=true"], "card=true: needs out="),
        (["lora={lora}", "card=true", "out=x.safetensors"], "card=true writes a folder"),
        (["lora={lora}", "card=true", "out=full"], "out=full: is there already"),
        (["lora={lora}", "card=true", "out=file"], "out=file: is there already"),
        (["lora={lora}", "card=true", "out=x", "show=full"], "show=full: expected a folder of"),
        (["lora={lora}", "card=true", "out=x", "layout=published"], "layout=published: has no"),
        (["lora={lora}", "card=true", "out=x", "rank=2"], "rank=2: card=true describes one file"),
        (["merge=[a,b]", "card=true", "out=x"], "merge=['a', 'b']: card=true describes one file"),
        (["lora={lora}", "show=full"], "show=full: has no effect; add card=true"),
        (["lora={content}", "card=true", "out=x"], "is a content LoRA; expected a slider"),
        (
            ["lora=none.safetensors", "card=true", "out=x"],
            "lora=none.safetensors: no such LoRA file",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    export, tmp_path, monkeypatch, words, reason
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/README.md").write_text("mine")
    (tmp_path / "file").write_text("mine")
    content = written(tmp_path, role="content")
    before = sorted(tmp_path.rglob("*"))
    places = {"{lora}": str(AGE), "{content}": str(content)}
    for old, new in places.items():
        words = [word.replace(old, new) for word in words]
    code, _, err = export(*words)
    assert code == 1
    assert reason in err
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "full/README.md").read_text() == "mine"


@pytest.mark.parametrize("option", sorted((CONF / "model").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_base_has_a_licence(option):
    from hydra.utils import get_class

    content = yaml.safe_load(option.read_text())
    licence = get_class(content["_target_"]).licences[option.stem]
    maker = "black-forest-labs"
    assert licence.link.startswith("https://")
    assert licence.free == (not licence.name)
    if not licence.free:
        assert content["path"].startswith(maker)
        assert "Black Forest Labs" in licence.notice
    # What the option's own comment says of it.
    said = option.read_text().split("\n")[0]
    assert "Apache-2.0" not in said or licence.free
    assert "Non-Commercial" not in said or not licence.free

"""How a slider is best used: by its pairs, by trial, and where that is noted and read."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from pairedit.data.examples import Pair, find_pairs
from pairedit.files import locate
from pairedit.jobs.noting import calibration
from pairedit.lora.file import inspect_lora
from pairedit.measure import choice
from pairedit.measure.choice import Choice, by_pairs, by_trial
from pairedit.measure.evaluate import Setting
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Subject, Unit
from pairedit.pictures.png import read_metadata
from pairedit.settings import Rendering, Use
from tiny import running, strong_lora

SIZE = (64, 64)
SETTING = Setting(
    prompts=["old"],
    seeds=[0],
    rendering=Rendering(skip=1, num_inference_steps=3, size=SIZE),
)


def pair(folder, name, box):
    """Write a pair whose target differs in a box."""
    sides = []
    for side in ("source", "target"):
        image = Image.new("RGB", SIZE, (90, 110, 130))
        if side == "target":
            ImageDraw.Draw(image).rectangle(box, fill=(220, 30, 60))
        sides.append(folder / f"{name}-{side}.png")
        image.save(sides[-1])
    return Pair(stem=name, source=sides[0], target=sides[1])


def test_edits_of_a_part_are_local_those_of_the_whole_picture_not(mini):
    found = {
        edit: by_pairs(mini, find_pairs(locate(f"pkg://data/{edit}")), (128, 128))
        for edit in ("smile", "hair_length", "age", "tilt")
    }
    uses = {edit: choice.use for edit, choice in found.items()}
    assert uses == {
        "smile": Use(local=True),
        "hair_length": Use(local=True),
        "age": Use(),
        "tilt": Use(),
    }
    assert found["smile"].reach < 0.1
    assert {each.by for each in found.values()} == {"pairs"}


def redness(images, references):
    """Read how red pictures are, and how bright."""
    return torch.stack(
        [images[:, 0].mean((1, 2)) - images[:, 1].mean((1, 2)), images.mean((1, 2, 3))], 1
    )


@pytest.fixture
def tried(flux, tmp_path, monkeypatch):
    """Try a slider; return the choice."""
    monkeypatch.setattr(choice, "SEEDS", range(2))
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    subject = Subject(
        path=lora.path,
        label="full",
        dataset="disc",
        pairs=[pair(tmp_path, "c", (8, 8, 20, 20))],
        attribute="red",
        skip=1,
    )
    first = Choice(use=Use(local=True), by="pairs", reach=0.1)

    def run(columns=("red", "bright"), *, first=first, **changes):
        probe = Instrument(read=redness, columns=columns)
        return by_trial(
            running(flux),
            replace(subject, **changes),
            lora,
            first=first,
            setting=SETTING,
            readers={"probe": probe},
        )

    return run, first


def test_a_probe_lets_skip_and_schedule_be_tried(tried, monkeypatch):
    run, first = tried
    found = run()
    assert found.by == "probe"
    assert found.use in choice.LOCAL
    assert found.reach == first.reach
    # The one of least cost is taken, whatever its place.
    for wanted in range(len(choice.LOCAL)):
        costs = iter([(False, float(index != wanted)) for index in range(len(choice.LOCAL))] * 2)
        known: dict[int, tuple[bool, float]] = {}
        monkeypatch.setattr(
            choice, "_cost", lambda seen, c=costs, k=known: k.setdefault(id(seen), next(c))
        )
        assert run().use == choice.LOCAL[wanted]


def test_what_would_be_guessed_is_not_tried(tried):
    run, first = tried
    assert run(attribute=None) is first
    assert run(columns=()) is first
    assert run(attribute="smile") is first


def test_uses_that_do_not_get_there_come_last():
    class Seen:
        pass

    reached, weak, weaker = (Seen() for _ in range(3))
    areas = {reached: 0.9, weak: float("nan"), weaker: float("nan")}
    shares = {weak: 0.4, weaker: 0.1}
    original = choice.measures.frontier, choice.measures.best_share
    try:
        choice.measures.frontier, choice.measures.best_share = areas.get, shares.get
        assert sorted([weaker, weak, reached], key=choice._cost) == [reached, weak, weaker]
    finally:
        choice.measures.frontier, choice.measures.best_share = original


def test_a_training_notes_it_and_a_rendering_follows(train_disc, command, tiny_overrides, tmp_path):
    code, out, _ = train_disc(tmp_path / "run", "preview=false")
    assert code == 0
    assert "disc: the pairs change" in out
    assert re.search(
        "best used with local=(true|false), and all else as the base model has it", out
    )
    slider = tmp_path / "run/disc/semantic.safetensors"
    way = inspect_lora(slider)["use"]["local"]
    noted = {"local": way, "schedule": 0.0, "flowedit": False, "by": "pairs"}
    assert inspect_lora(slider)["use"] == noted
    folder = tmp_path / "gen"
    words = [f"lora={slider}", "seeds=[0]", "scales=[0,1]", f"hydra.run.dir={folder}"]
    assert command("gen", *words, *tiny_overrides)[0] == 0
    (image,) = folder.glob("images/*scale+1.png")
    assert ("lora.0.local" in read_metadata(image)) == way


def test_an_evaluation_settles_what_nobody_has_said(trained, command, tiny_overrides, tmp_path):
    slider = (
        trained(tmp_path / "run", "preview=false", "report=false") / "disc/semantic.safetensors"
    )
    words = [f"lora={slider}", "seeds=[0]", "scales=[1]", *tiny_overrides]
    code, out, _ = command("eval", *words, f"hydra.run.dir={tmp_path / 'eval'}")
    assert code == 0
    assert "on disc: best used with" in out
    (found,) = json.loads((tmp_path / "eval/eval.json").read_text())["sliders"]
    assert found["local"] == inspect_lora(slider)["use"]["local"]
    code, out, _ = command("eval", *words, "local=false", f"hydra.run.dir={tmp_path / 'b'}")
    assert code == 0
    assert "best used with" not in out


def test_the_scale_worth_one_pair_is_noted_with_where_it_holds():
    subject = Subject(
        path=Path("x"), label="x", dataset="x", pairs=(), attribute="smile", skip=0.6, local=True
    )
    note = calibration(
        Unit(scale=0.5, error=0.12, people=3),
        subject,
        torch.tensor([1.0, 0.8, 0.61, 0.3, 0.0]),
        model="flux-mini",
    )
    assert note == {
        "scale": 0.5,
        "error": 0.12,
        "people": 3,
        "skip": 2,
        "sigma": 0.61,
        "num_inference_steps": 4,
        "local": True,
        "schedule": 0.0,
        "flowedit": False,
        "model": "flux-mini",
    }

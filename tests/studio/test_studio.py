"""What the tabs of the page share: who waits for what, how runs go on and go away."""

import threading
import time
from types import SimpleNamespace

import pytest
import yaml

from pairedit.studio.rows import Asked, Slider
from pairedit.studio.studio import Studio


class Hand:
    """Stand for the worker: renders once it may."""

    def __init__(self):
        self.may, self.seeds = threading.Event(), []

    def do(self, job, *, parts, keys, folder, of):
        self.seeds += keys["seeds"]
        assert self.may.wait(20)


@pytest.fixture
def studio(tmp_path):
    model = SimpleNamespace(name="flux-mini", train_on=None)
    made = {"folder": tmp_path / "outputs", "parts": {}, "keys": {}, "words": (), "model": model}
    studio = Studio(SimpleNamespace(**made))
    studio.rows._hand = Hand()
    return studio


@pytest.fixture
def slider(tmp_path):
    path = tmp_path / "age.safetensors"
    path.write_bytes(b"x")
    return Slider(path=path, label="age", unit=0.6, strength=0.6)


def test_a_person_that_nobody_waits_for_any_more_is_not_rendered(studio, slider):
    waiting = []
    for seed in (1, 2, 3):
        asked = Asked(sliders=(slider,), seed=seed).first
        waiting.append(studio.rendered(asked, studio.look("a tab")))
        next(waiting[-1])
        while not studio.rows._hand.seeds:  # the first is at work
            time.sleep(0.01)
    studio.rows._hand.may.set()
    for each in waiting:
        list(each)
    # The second was passed over.
    assert studio.rows._hand.seeds == [1, 3]


def test_another_tab_waits_for_its_own(studio):
    mine, other = studio.look("mine"), studio.look("other")
    assert mine()
    assert other()
    again = studio.look("mine")
    assert (mine(), again(), other()) == (False, True, True)


def begun(studio, name):
    """Write what a training leaves that was stopped."""
    place = studio.plan.folder / "train" / name
    (place / "smile" / "checkpoints").mkdir(parents=True)
    (place / "smile" / "checkpoints" / "000010.safetensors").write_bytes(b"x")
    (place / "config.yaml").write_text(yaml.safe_dump({"datasets": {"smile": {}}, "steps": 40}))
    (place / "overrides.yaml").write_text("[dataset=smile]")
    return studio.shelf.runs()[f"train/{name}/smile"]


def test_any_training_that_has_stopped_goes_on(studio):
    run, other = begun(studio, "x"), begun(studio, "y")
    studio.go_on(run)
    assert studio.shelf.waiting() == [run.run]
    words = yaml.safe_load((run.run / "waiting.yaml").read_text())["words"]
    assert words == [f"resume={run.run}"]
    for wrong in (None, studio.shelf.runs()[run.key]):  # the second waits already
        with pytest.raises(ValueError, match="nothing to go on"):
            studio.go_on(wrong)
    place = studio.throw_away(other)
    assert (place / "smile" / "checkpoints").is_dir()
    assert not other.run.exists()


def test_what_browsers_have_sent_is_forgotten_at_the_start(studio):
    (studio.uploads / "x").mkdir()
    (studio.uploads / "x" / "photo.png").write_bytes(b"x")
    studio.start_anew()
    assert list(studio.uploads.iterdir()) == []

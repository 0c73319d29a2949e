"""What the outputs folder holds, told from files; whose turn it is."""

import json
import subprocess
import sys
import threading
import time

import pytest
import yaml

from pairedit.runs.lock import locked
from pairedit.studio.desk import Desk
from pairedit.studio.shelf import Shelf, is_at_work, last_line, losses


class Hand:
    """Stand for the worker."""

    def __init__(self):
        self.rested = 0

    def rest(self):
        self.rested += 1

    def start(self):
        self.started = True

    def kill(self):
        pass


def begun(folder, name="smile", *, steps=40):
    """Write what a training leaves that has begun."""
    place = folder / name
    place.mkdir(parents=True)
    config = {"datasets": {name: {}}, "steps": steps, "model": {"name": "flux-mini"}}
    config["method"] = {"_target_": "pairedit.methods.Graded"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "overrides.yaml").write_text(f"[dataset={name}]")
    lines = [json.dumps({"step": n, "loss": 1 / n, "seconds": n / 10}) for n in (1, 2, 3)]
    (place / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "lo')
    return place


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "outputs")


def states(shelf):
    return {key: run.state for key, run in shelf.runs().items()}


def test_a_training_is_told_from_its_files(shelf):
    place = begun(shelf.folder / "train" / "x")
    assert states(shelf) == {"train/x/smile": "stopped"}
    run = shelf.runs()["train/x/smile"]
    assert (run.step, run.steps, run.seconds) == (3, 40, 0.3)
    assert (run.base, run.method, run.name, run.slider) == ("flux-mini", "Graded", "smile", None)
    with locked(place.parent):
        assert states(shelf) == {"train/x/smile": "running"}
    (place / "semantic.safetensors").write_bytes(b"x")
    (place / "report.json").write_text('{"verdict": "works"}')
    run = shelf.runs()["train/x/smile"]
    assert (run.state, run.verdict) == ("done", "works")
    assert run.slider == place / "semantic.safetensors"


def test_what_is_not_a_training_is_left_out(shelf):
    for place in ("trash/t/x", "studio/rows/x"):
        begun(shelf.folder / place)
    gen = begun(shelf.folder / "gen" / "x").parent
    (gen / "config.yaml").write_text("edit: {}")
    assert states(shelf) == {}
    (shelf.folder / "train/broken").mkdir(parents=True)
    (shelf.folder / "train/broken/overrides.yaml").write_text("\0")
    assert states(shelf) == {}


def test_torn_lines_are_no_losses(shelf):
    place = begun(shelf.folder / "train" / "x")
    assert last_line(place / "metrics.jsonl") == {"step": 3, "loss": 1 / 3, "seconds": 0.3}
    assert losses(place / "metrics.jsonl") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert last_line(place / "nothing") == {}
    assert losses(place / "nothing") == []


def test_a_lock_that_nobody_holds_is_none(tmp_path):
    assert is_at_work(tmp_path) is None
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    for text in (dead.stdout.decode(), "x", "", "-1", "0", "9" * 40, "1\n"):
        (tmp_path / ".lock").write_text(text)
        assert is_at_work(tmp_path) is None


@pytest.fixture
def desk(shelf, monkeypatch):
    """A desk whose trainings only sleep in their folder, until they are told to stop."""
    hand = Hand()
    monkeypatch.setattr("pairedit.studio.desk.PAUSE", 0.02)
    monkeypatch.setattr("pairedit.studio.desk.COMMAND", (sys.executable, "-c", SLEEPER))
    desk = Desk(shelf, hand)
    yield desk
    desk.close()


SLEEPER = """
import sys, time
from pathlib import Path
from pairedit.runs.lock import locked
place = Path(sys.argv[-1].removeprefix("hydra.run.dir="))
with locked(place):
    try:
        (place / "overrides.yaml").write_text("[]")
        time.sleep(240)
    except KeyboardInterrupt:
        (place / "saved").touch()
"""


def until(true, seconds=90):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_one_training_at_a_time_and_no_rendering_beside_it(desk):
    first, second = desk.add(["dataset=age"]), desk.add(["dataset=smile"])
    assert desk.shelf.waiting() == [first, second]
    with desk.rendering():
        desk.start()
        time.sleep(0.2)
        assert desk.busy() is None
    until(lambda: (first / "overrides.yaml").exists())  # from then on it saves
    assert desk.busy() == first
    assert desk.hand.rested == 1
    assert desk.shelf.waiting() == [second]
    assert desk.stop(first)
    until(lambda: (second / "overrides.yaml").exists())
    assert (first / "saved").exists()
    assert desk.stop(second)
    with desk.rendering():
        assert desk.busy() is None
    assert not desk.stop(second)


def test_nobody_is_counted_twice_while_the_worker_goes_for_a_training(desk):
    asked, gone = threading.Event(), threading.Event()
    desk.hand.rest = lambda: asked.set() or gone.wait(20)
    first = desk.add(["dataset=age"])
    desk.start()
    assert asked.wait(20)
    second, third = desk.add(["dataset=smile"]), desk.add(["dataset=age"])
    assert desk.busy() == first
    assert desk.waiting() == [second, third]
    assert [desk.ahead(place) for place in (first, second, third)] == [0, 1, 2]
    gone.set()
    until(lambda: (first / "overrides.yaml").exists())
    assert desk.ahead(second) == 1


def test_what_is_taken_back_at_the_last_moment_never_begins(desk):
    asked, gone = threading.Event(), threading.Event()
    desk.hand.rest = lambda: asked.set() or gone.wait(20)
    first = desk.add(["dataset=age"])
    desk.start()
    assert asked.wait(20)
    assert desk.stop(first)
    gone.set()
    until(lambda: desk.busy() is None)
    assert not first.exists()


def test_a_training_from_a_terminal_goes_before_those_that_wait(desk, shelf):
    desk.start()
    with locked(begun(shelf.folder / "train" / "x").parent):
        waits = desk.add(["dataset=age"])
        until(lambda: desk.busy() is not None)
        assert desk.busy() == shelf.folder / "train" / "x"
        assert desk.ahead(waits) == 1
    until(lambda: desk.busy() == waits)


def test_what_waits_can_be_taken_back(desk):
    place = desk.add(["dataset=age"])
    assert desk.stop(place)
    assert not place.exists()
    assert desk.shelf.waiting() == []


def test_the_end_of_the_studio_has_its_training_saved_and_keeps_the_queue(desk):
    first, second = desk.add(["dataset=age"]), desk.add(["dataset=smile"])
    desk.start()
    until(lambda: (first / "overrides.yaml").exists())
    desk.close()
    assert (first / "saved").exists()
    assert desk.shelf.waiting() == [second]


def test_a_training_of_an_earlier_studio_keeps_its_turn(desk, shelf):
    place = begun(shelf.folder / "train" / "x").parent
    words = [sys.executable, "-c", SLEEPER, f"hydra.run.dir={place}"]
    (place / "overrides.yaml").unlink()  # written anew once it would save
    other = subprocess.Popen(words, start_new_session=True)
    try:
        until(lambda: (place / "overrides.yaml").exists())
        assert is_at_work(place) == other.pid
        waits = desk.add(["dataset=age"])
        desk.start()
        time.sleep(0.2)
        assert desk.busy() == place
        assert desk.shelf.waiting() == [waits]
        assert desk.stop(place)
        until(lambda: desk.busy() == waits)
        assert (place / "saved").exists()
    finally:
        other.kill()
        other.wait()


def test_a_training_that_cannot_begin_is_said_and_holds_nobody_up(desk):
    broken = desk.add(["dataset=age"])
    (broken / "waiting.yaml").write_text("[]")
    after = desk.add(["dataset=smile"])
    desk.start()
    until(lambda: is_at_work(after))
    assert "error: " in (broken / "output.txt").read_text()
    assert {run.state for run in desk.shelf.runs().values() if run.run == broken} == {"failed"}

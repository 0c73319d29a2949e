"""What can be refused at once is refused before torch is imported: a folder that is taken."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pairedit.runs.lock import locked

DRIVER = Path(__file__).with_name("mistakes_driver.py")


def drive(*calls):
    """Run commands in a process of their own; return what they said, and what it had imported."""
    done = subprocess.run(
        [sys.executable, DRIVER], input=json.dumps(calls), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def taken(trained, tmp_path):
    return trained(tmp_path / "run", "preview=false", "report=false")


def test_a_folder_that_is_taken_is_refused_before_torch(
    taken, tmp_path, tiny_overrides, pair_folder
):

    def times():  # the log may say how many pairs there are
        return {p: p.stat().st_mtime_ns for p in taken.rglob("*") if p.suffix != ".log"}

    before = times()
    place = f"hydra.run.dir={taken}"
    pairs = ["dataset=folder", f"pairs={pair_folder}"]
    train, gen = drive(
        ["train", [place, *pairs, *tiny_overrides]], ["gen", [place, *tiny_overrides]]
    )
    assert train["err"].startswith(f"error: {taken}: holds a run already; continue it with ")
    assert gen["err"] == f"error: {taken}: holds a training; choose another hydra.run.dir\n"
    with locked(tmp_path / "busy"):
        (busy,) = drive(["train", [f"hydra.run.dir={tmp_path}/busy", *pairs, *tiny_overrides]])
    assert busy["err"].startswith(f"error: {tmp_path}/busy: another run is at work here (process")
    assert train["heavy"] == gen["heavy"] == busy["heavy"] == []
    assert times() == before

"""Rows are rendered in turn and when asked for, at a bounded cost; lines say how far a run is."""

import logging
import os
import signal

import pytest
import torch

from pairedit.runs import progress as progress_module
from pairedit.runs.looking import Asking, Looking
from pairedit.runs.progress import Progress
from pairedit.runs.stopping import Stopping
from pairedit.runs.tracking import Silent
from pairedit.settings import Training


@pytest.fixture
def look(tmp_path):
    def make(show=lambda step: None, every=0):
        asking = Asking(tmp_path)
        return asking, Looking(name="disc", asking=asking, every=every, show=show, prompts=["a"])

    return make


def test_a_signal_and_a_file_ask_for_one_row_each(look, tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    asking, looking = look()
    (tmp_path / "disc").mkdir()
    with asking:
        assert not looking.due(1, 1.0)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert looking.due(2, 1.0)
        assert not looking.due(3, 1.0)
        for path in (tmp_path / "preview", tmp_path / "disc/preview"):
            path.touch()
            assert looking.due(4, 1.0)
            assert not path.exists()
            assert not looking.due(5, 1.0)
        (tmp_path / "preview").mkdir()
        assert not looking.due(6, 1.0), "a folder is no question, and would be one for ever"
    assert signal.getsignal(signal.SIGUSR1) == before


def test_rows_come_in_turn_and_cost_at_most_their_share(look, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clock = iter([0.0, 4.0])
    monkeypatch.setattr("pairedit.runs.looking.time.perf_counter", lambda: next(clock))
    _, looking = look(every=10)
    assert looking.prompts == ("a",)
    assert [step for step in range(1, 30) if looking.due(step, 1.0)] == [10, 20]
    assert looking.show(20) == 4.0
    # With one more as long as the last, all of them would take more than half.
    assert not looking.due(30, 15.9)
    assert not looking.due(40, 15.9)
    assert caplog.text.count("there is no row for step") == 1
    assert looking.due(50, 16.0)


def test_a_row_that_fails_stops_nothing(look, caplog):
    def fail(step):
        raise ValueError("not finite")

    _, looking = look(show=fail)
    looking.show(7)
    assert "disc: no preview at step 7: not finite" in caplog.text


def test_a_line_is_written_now_and_then_where_there_is_no_terminal(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "perf_counter", lambda: now[0])
    progress = Progress(
        name="disc",
        settings=Training(steps=100),
        folder=tmp_path,
        state=None,
        save=None,
        run=Silent(),
        about={},
        stopping=Stopping(),
        delayed=False,
    )
    for number in progress.steps():
        progress.note(number, ["loss"], torch.tensor([0.5]))
        now[0] += 2.0
        progress.update_done(number)
        if number == 40:
            break
    lines = [record.message for record in caplog.records]
    assert lines == [
        "disc: step 15 of 100, loss 0.5000, 0.5 steps/s, 02:50 left",
        "disc: step 30 of 100, loss 0.5000, 0.5 steps/s, 02:20 left",
    ]

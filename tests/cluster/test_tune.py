"""A search by Optuna that is killed goes on with its study, and with the training it was at."""

import os
import re
import signal
import subprocess
import sys

import pytest
from afar import TRAIN, at_work, eventually, needs

from pairedit.sweeps import outcome

pytestmark = pytest.mark.cluster


# SQLAlchemy 1, which Optuna 2 needs, warns of what Optuna asks of it.
@pytest.mark.filterwarnings("ignore:Deprecated API features")
def test_a_search_that_was_killed_does_the_trials_that_are_left(tiny_overrides, tmp_path):
    needs("hydra_plugins.hydra_optuna_sweeper", "optuna")
    import optuna

    folder = tmp_path / "tune"
    words = ["sweep=tune", "dataset=age", "hydra.sweeper.n_trials=3", "method=fm", "save_every=10"]
    words += ["+hydra.sweeper.params.seed='choice(0,1)'", 'score="image change"', "steps=60"]
    # Two settings for three trials: one is drawn again.
    words += ["cfg_eta=4", "lora.rank=2", f"hydra.sweep.dir={folder}", *tiny_overrides]
    command = [sys.executable, "-c", TRAIN]
    process = subprocess.Popen([*command, *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    ((first, _),) = eventually(lambda: at_work(folder))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(
        [*command, f"resume={folder}"], cwd=tmp_path, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert "0 trials are done, 1 that were cut off come first" in done.stdout
    notes = {path.parent.name: outcome.read(path.parent) for path in folder.glob("*/job.json")}
    assert {note.status for note in notes.values()} == {outcome.DONE}
    assert {"trial-001"} <= set(notes) <= {"trial-001", "trial-002"}
    assert first.name == "trial-001"
    assert re.search(r"goes on after step \d+ of 60", (first / "train.log").read_text())
    study = optuna.load_study(study_name="pairedit", storage=f"sqlite:///{folder}/study.db")
    assert [t.state.name for t in study.trials] == ["FAIL", *["COMPLETE"] * 3]
    assert study.trials[1].params == study.trials[0].params == {"seed": 0}, "the default"
    assert (folder / "optimization_results.yaml").is_file()


@pytest.mark.filterwarnings("ignore:Deprecated API features")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_side_by_side_draws_a_setting_again(tiny_overrides, tmp_path, workers):
    needs("hydra_plugins.hydra_optuna_sweeper", "hydra_plugins.hydra_joblib_launcher")
    folder = tmp_path / "tune"
    words = ["sweep=tune", "dataset=age", "hydra.sweeper.n_trials=4", "method=fm", "steps=2"]
    words += ["+hydra.sweeper.params.seed='choice(0,1)'", 'score="image change"', "save_every=0"]
    words += ["cfg_eta=4", "lora.rank=2", f"hydra.sweep.dir={folder}", *tiny_overrides]
    words += ["hydra/launcher=joblib", f"hydra.sweeper.n_jobs={workers}"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    notes = [outcome.read(path.parent) for path in folder.glob("*/job.json")]
    assert 1 <= len(notes) <= 2
    assert {note.status for note in notes} == {outcome.DONE}
    assert (folder / "optimization_results.yaml").is_file()


@pytest.mark.filterwarnings("ignore:Deprecated API features")
def test_a_search_of_which_no_trial_succeeds_says_why(tiny_overrides, tmp_path):
    needs("hydra_plugins.hydra_optuna_sweeper", "optuna")
    words = ["sweep=tune", "dataset=age", "hydra.sweeper.n_trials=2", "method=fm", "steps=2"]
    words += ['score="image change"', "save_every=10", f"hydra.sweep.dir={tmp_path / 'tune'}"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *words, *tiny_overrides],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 1
    assert "error: 2 jobs failed:" in done.stderr
    assert "save_every=10: expected 0 (no checkpoints) to steps=2" in done.stderr

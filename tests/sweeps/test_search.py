"""A search goes on after a kill, and takes what a training measured."""

import json
import math
import sqlite3

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from pairedit.files import write_yaml
from pairedit.jobs.scoring import score_of
from pairedit.plan.scores import check_score
from pairedit.sweeps.search import go_on, scored, take_up


def study(folder, **states):
    """Write what Optuna's storage holds of a study's trials."""
    folder.mkdir()
    with sqlite3.connect(folder / "study.db") as base:
        base.execute("create table trials (trial_id integer primary key, state text)")
        base.execute("create table trial_user_attributes (trial_id integer, key text)")
        for state, count in states.items():
            base.executemany("insert into trials (state) values (?)", [(state,)] * count)
    sweeper = {
        "n_trials": 12, "direction": "maximize",
        "params": {"steps": "choice(100,200)", "lora.rank": "choice(4,16)", "_target_": "x"},
    }  # fmt: skip
    write_yaml(folder / "multirun.yaml", {"hydra": {"sweeper": sweeper}})
    return folder


def test_the_trials_that_are_left_are_done(tmp_path):
    folder = study(tmp_path / "tune", COMPLETE=4, FAIL=1, RUNNING=2)
    words = [f"hydra.sweep.dir={folder}", "resume=auto", "-m"]
    space = ["++hydra.sweeper.params.steps='choice(100,200)'", "hydra.sweeper.direction=maximize"]
    assert go_on(words) == [*words, *space, "hydra.sweeper.n_trials=7"]
    other = [*words, "hydra.sweeper.params.steps=choice(1,2)"]
    assert go_on(other) == [*other, space[1], "hydra.sweeper.n_trials=7"]
    assert go_on([*words, "hydra.sweeper.n_trials=3"])[-1] == "hydra.sweeper.n_trials=3"
    assert go_on(words[:1]) == words[:1]


def test_a_sweep_that_is_no_search_is_left_alone(tmp_path):
    words = [f"hydra.sweep.dir={tmp_path}", "resume=auto"]
    assert go_on(words) == words


def report(folder, **measures):
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"measures": measures}))
    return folder


def test_a_score_is_the_mean_over_the_edits(tmp_path):
    folders = [
        report(tmp_path / "a", **{"matched off-target": 0.1, "target": [0, 0.5]}),
        report(tmp_path / "b", **{"matched off-target": 0.3, "target": [0, 0.7]}),
    ]
    assert score_of(folders, None) == score_of(folders, "auto") == pytest.approx(0.2)
    assert score_of(folders, "target") == pytest.approx(0.6)
    assert score_of(folders, "lpips") is None


def test_without_a_probe_the_person_is_what_counts(tmp_path):
    folder = report(tmp_path / "a", **{"matched identity": None})
    assert math.isnan(score_of([folder], None))
    assert score_of([tmp_path], None) is None


def test_a_measure_that_there_is_not_is_refused():
    with pytest.raises(
        ValueError, match=r"score=beauty: no such measure; there is auto, image change"
    ):
        check_score("beauty")


@pytest.mark.parametrize(("direction", "worst"), [("minimize", math.inf), ("maximize", -math.inf)])
def test_a_slider_that_does_not_get_there_is_as_bad_as_can_be(direction, worst):
    config = OmegaConf.create({"hydra": {"sweeper": {"direction": direction}}})
    found = JobReturn(_return_value=math.nan, status=JobStatus.COMPLETED)
    assert scored(found, config).return_value == worst


def test_what_was_not_measured_is_a_failure():
    config = OmegaConf.create({"hydra": {"sweeper": {"direction": "minimize"}}})
    found = scored(JobReturn(_return_value=None, status=JobStatus.COMPLETED), config)
    assert found.status == JobStatus.FAILED


@pytest.fixture
def searching(tmp_path):
    """Return the configuration of a search, as its launcher gets it."""
    pytest.importorskip(
        "hydra_plugins.hydra_optuna_sweeper", reason="needs pip install 'pairedit[tune]'"
    )
    params = {"cfg_eta": "choice(1,2,4)", "steps": "interval(100,200)", "lora.rank": "choice(8,16)"}
    sweeper = {
        "study_name": "pairedit", "storage": f"sqlite:///{tmp_path}/study.db",
        "direction": "minimize", "params": params,
    }  # fmt: skip
    usual = {"cfg_eta": 4.0, "steps": 150, "lora": {"rank": 4}}
    return OmegaConf.create({**usual, "hydra": {"sweeper": sweeper}})


def opened(config):
    import optuna

    sweeper = config.hydra.sweeper
    return optuna.load_study(study_name=sweeper.study_name, storage=sweeper.storage)


# SQLAlchemy 1, which Optuna 2 needs, warns of what Optuna asks of it.
old_tables = pytest.mark.filterwarnings("ignore:Deprecated API features")


@old_tables
def test_a_search_tries_the_default_first(searching, tmp_path):
    take_up(searching, tmp_path)
    trial = opened(searching).ask()
    # The usual rank is none of those that are searched.
    assert trial.system_attrs["fixed_params"] == {"cfg_eta": 4.0, "steps": 150}
    assert trial.suggest_categorical("cfg_eta", [1, 2, 4]) == 4
    assert "fixed_params" not in opened(searching).ask().system_attrs


@old_tables
def test_a_trial_that_was_cut_off_comes_first(searching, tmp_path):
    take_up(searching, tmp_path)
    study = opened(searching)
    study.tell(study.ask(), 0.5)
    broken = study.ask()
    broken.suggest_categorical("cfg_eta", [1, 2, 4])
    take_up(searching, tmp_path)  # as the next command does, once this one was killed
    again = opened(searching).ask()
    assert again.system_attrs["fixed_params"] == broken.params
    assert [t.state.name for t in opened(searching).trials] == ["COMPLETE", "FAIL", "RUNNING"]


def test_what_is_searched_is_measured_on_the_same_seeds_however_fast_it_was(train_disc, tmp_path):
    code, _, err = train_disc(tmp_path / "run", "score=auto", "preview=false")
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "run/disc/report.json").read_text())
    assert found["seeds"] == list(range(8))

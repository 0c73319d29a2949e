"""A search goes on after a kill, and takes what a training measured."""

import json
import math
import sqlite3

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from pairedit.files import write_yaml
from pairedit.jobs.scoring import check_score, score_of
from pairedit.sweeps.search import go_on, scored


def study(folder, **states):
    """Write what Optuna's storage holds of a study's trials."""
    folder.mkdir()
    with sqlite3.connect(folder / "study.db") as base:
        base.execute("create table trials (trial_id integer primary key, state text)")
        base.execute("create table trial_user_attributes (trial_id integer, key text)")
        for state, count in states.items():
            base.executemany("insert into trials (state) values (?)", [(state,)] * count)
    write_yaml(folder / "multirun.yaml", {"hydra": {"sweeper": {"n_trials": 12}}})
    return folder


def test_the_trials_that_are_left_are_done(tmp_path):
    folder = study(tmp_path / "tune", COMPLETE=4, FAIL=1, RUNNING=2)
    words = [f"hydra.sweep.dir={folder}", "resume=auto", "-m"]
    assert go_on(words) == [*words, "hydra.sweeper.n_trials=7"]
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
    assert score_of(folders, None) == pytest.approx(0.2)
    assert score_of(folders, "target") == pytest.approx(0.6)
    assert score_of(folders, "lpips") is None


def test_without_a_probe_the_person_is_what_counts(tmp_path):
    folder = report(tmp_path / "a", **{"matched identity": None})
    assert math.isnan(score_of([folder], None))
    assert score_of([tmp_path], None) is None


def test_a_measure_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"score=beauty: no such measure; there is image change"):
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

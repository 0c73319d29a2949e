"""Jobs are named by what differs among them; a name once given is kept."""

import pytest

from pairedit.files import write_yaml
from pairedit.runs.resume import expand_resume
from pairedit.sweeps.naming import Names, differing


def names(folder, *jobs, searched=False):
    return Names(folder).of([job.split() for job in jobs], searched=searched)


def test_a_job_is_named_by_what_differs(tmp_path):
    jobs = [
        f"preview=false method={method} dataset=age lora.rank={rank}"
        for method in ("full", "fm")
        for rank in (4, 16)
    ]
    assert names(tmp_path, *jobs) == ["full_rank-4", "full_rank-16", "fm_rank-4", "fm_rank-16"]


def test_a_sweep_that_goes_on_finds_its_folders_again(tmp_path):
    first = names(tmp_path, "method=full seed=0", "method=fm seed=0")
    again = names(tmp_path, "method=full seed=0 resume=auto", "method=fm seed=0 resume=auto")
    assert first == again == ["full", "fm"]


def test_a_sweep_that_grows_keeps_the_names_that_it_has(tmp_path):
    assert names(tmp_path, "method=full seed=0") == ["method-full_seed-0"]
    grown = names(tmp_path, "method=full seed=0", "method=full seed=1")
    assert grown == ["method-full_seed-0", "seed-1"]


def test_names_need_no_quotes_and_never_collide(tmp_path):
    made = names(tmp_path, "lora.targets='a/b'", "lora.targets='a-b'", "lora.targets=[c,d]")
    assert len(set(made)) == 3
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.+-_") for name in made)


def test_the_same_job_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"two jobs are the same: seed=0; write each value once"):
        names(tmp_path, "seed=0", "seed=0", "seed=1")


def test_trials_of_a_search_are_numbered(tmp_path):
    assert names(tmp_path, "cfg_eta=2", searched=True) == ["trial-001"]
    assert names(tmp_path, "cfg_eta=3", "cfg_eta=2", searched=True) == ["trial-002", "trial-001"]


def test_a_key_that_only_some_jobs_set_differs():
    assert differing([["a=1", "b=2"], ["a=1"]]) == ["b"]


def test_the_newest_sweep_is_found_whichever_launcher_goes_on_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "outputs/sweep/2026-01-31_12-00-00"
    write_yaml(sweep / "multirun.yaml", {"hydra": {"overrides": {"task": ["seed=0,1"]}}})
    words = ["-m", "seed=0,1", "resume=auto", "hydra/launcher=joblib"]
    assert expand_resume(words)[-1] == f"hydra.sweep.dir={sweep}"

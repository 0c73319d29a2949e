"""A sweep whose jobs fail or are lost says so, whichever engine runs them."""

import importlib.util
import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pairedit import cli
from pairedit.sweeps import engines, outcome
from pairedit.sweeps.composed import Composed, Planned
from pairedit.sweeps.jobs import Jobs
from pairedit.sweeps.resources import Needs
from tiny import QUICK

EXTRAS = {"joblib": "joblib", "ray": "ray", "submitit": "slurm"}


@pytest.fixture
def sweep(command, pair_folder, tmp_path):
    """Run a sweep on the discs; return its folder, exit code and what stood on stderr."""

    def run(*words):
        folder = tmp_path / "sweep"
        place = ["-m", f"hydra.sweep.dir={folder}", "dataset=folder", f"pairs={pair_folder}"]
        usual = ["report=false", "preview=false", *QUICK]
        code, _, err = command("train", *place, *usual, *words)
        return folder, code, err

    return run


def notes(folder):
    return {path.parent.name: outcome.read(path.parent) for path in folder.glob("*/job.json")}


def test_a_job_that_fails_is_named_and_the_others_run(sweep):
    folder, code, err = sweep("learning_rate=0.01,-1")
    assert code == 1
    assert err.startswith("error: 1 job failed:")
    assert "learning_rate--1: learning_rate=-1" in err
    states = {name: note.status for name, note in notes(folder).items()}
    assert states == {"learning_rate-0.01": "done", "learning_rate--1": "failed"}
    assert (folder / "learning_rate-0.01/disc/semantic.safetensors").is_file()
    assert not list(folder.glob(".jobs/*"))


def test_a_job_that_fails_at_work_is_named_and_the_others_run(sweep):
    folder, code, err = sweep("learning_rate=0.01,1e30", "steps=4")
    assert code == 1
    assert err.startswith("error: 1 job failed:")
    assert "learning_rate-1e+30: " in err
    states = {name: (note.status, note.launch != "") for name, note in notes(folder).items()}
    assert states == {"learning_rate-0.01": ("done", True), "learning_rate-1e+30": ("failed", True)}


def test_a_job_whose_folder_is_taken_keeps_its_note(sweep):
    folder, code, _ = sweep("seed=0,1")
    assert code == 0
    before = notes(folder)
    folder, code, err = sweep("seed=0,1,2")
    assert code == 1
    assert err.startswith("error: 2 jobs failed:")
    assert {name: notes(folder)[name] for name in before} == before
    assert notes(folder)["seed-2"].status == "done"


def test_a_job_that_is_lost_is_started_again_and_named_when_it_stays_lost(sweep, monkeypatch):
    run, turns = engines.run_here, []

    def lose(site, planned):
        turns.append([job.folder.name for job in planned])
        found = run(site, planned[1:] if len(turns) == 1 else [])
        return {job.number: found.get(job.number, "its process was killed") for job in planned}

    monkeypatch.setitem(engines.ENGINES, "basic", lose)
    folder, code, err = sweep("seed=0,1", "hydra.launcher.tries=3")
    assert turns == [["seed-0", "seed-1"], ["seed-0"], ["seed-0"]]
    assert code == 1
    assert "seed-0: lost 3 times (its process was killed)" in err
    assert notes(folder)["seed-1"].status == "done"


def test_a_second_start_of_one_launch_goes_on_and_the_last_gives_up(tmp_path):
    first = outcome.begin(tmp_path, "a")
    second = outcome.begin(tmp_path, "a")
    assert (first.starts, second.starts) == (1, 2)
    outcome.end(tmp_path, second, outcome.DONE)
    # The next command's launch is no second start, and neither is one of a job that has ended.
    assert outcome.begin(tmp_path, "b").starts == 1


@pytest.mark.parametrize("name", EXTRAS)
def test_a_launcher_that_is_not_installed_says_how_to_install_it(sweep, name):
    if importlib.util.find_spec(f"hydra_plugins.hydra_{name}_launcher"):
        pytest.skip(f"{name} is installed")
    _, code, err = sweep("seed=0,1", f"hydra/launcher={name}")
    assert code == 1
    assert err.startswith(f"error: hydra/launcher={name}: not installed (")
    assert err.rstrip().endswith(f"pip install 'pairedit[{EXTRAS[name]}]'")
    assert len(err.splitlines()) == 1


def test_jobs_come_to_life_elsewhere_without_what_belongs_at_home():
    jobs = Jobs(cli._gen, full=False)
    jobs.launch, jobs.failures = "abc", [("here", "no")]
    there = pickle.loads(pickle.dumps(jobs))
    assert (there.launch, there.failures, there._away) == ("abc", [], True)


def test_what_was_composed_at_home_is_read_elsewhere(tmp_path):
    from omegaconf import OmegaConf

    class Loader:
        def load_sweep_config(self, master_config, overrides):
            log = {
                "handlers": {"console": {}, "file": {}},
                "root": {"handlers": ["console", "file"]},
            }
            hydra = {"sweep": {"dir": "?", "subdir": "?"}, "job_logging": log}
            return OmegaConf.create({"seed": int(overrides[0][-1]), "hydra": hydra})

    home = Composed(Loader())
    jobs = [
        Planned(number=n, overrides=(f"seed={n}",), folder=tmp_path / f"seed-{n}") for n in (0, 1)
    ]
    for job in jobs:
        home.load_sweep_config(None, job.overrides)
        home.settle(job, quiet=True)
    home.lay_out(tmp_path / ".jobs", jobs)
    there = pickle.loads(pickle.dumps(home))
    config = there.load_sweep_config(None, ["seed=1"])
    assert (config.seed, config.hydra.sweep.subdir) == (1, "seed-1")
    assert config.hydra.job_logging.root.handlers == ["file"]
    home.clear(tmp_path / ".jobs")
    assert not (tmp_path / ".jobs").exists()


def test_a_note_that_is_torn_counts_as_none(tmp_path):
    (tmp_path / "job.json").write_text(json.dumps({"launch": "a"})[:-2])
    assert outcome.read(tmp_path) is None
    assert outcome.begin(tmp_path, "a").starts == 1


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hydra.launcher.n_jobs=two", "a number from 1 on, or null for as many as fit"),
        ("hydra.launcher.n_jobs=0", "a number from 1 on, or null for as many as fit"),
        ("hydra.launcher.tries=0", "a number from 1 on"),
    ],
)
def test_a_number_that_nothing_can_be_counted_by_is_refused(sweep, word, expected):
    _, code, err = sweep("seed=0,1", "hydra/launcher=joblib", word)
    assert code == 1
    assert err == f"error: {word}: expected {expected}\n"


@pytest.mark.parametrize(("known", "keys"), [(["5"], {}), (["5", "7"], {"n_jobs": 1})])
def test_one_worker_keeps_its_gpu_from_other_sweeps_too(monkeypatch, known, keys):
    site = SimpleNamespace(jobs=SimpleNamespace(gpus=known), keys=keys)
    claimed = []
    monkeypatch.setattr(engines.gpus, "claim", claimed.append)
    monkeypatch.setattr(engines, "run_here", lambda site, planned: {0: claimed[:]})
    job = Planned(number=0, overrides=(), folder=None)
    assert engines.run_joblib(site, [job]) == {0: [["5"]]}, "claimed before the first job"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hydra/launcher=joblib"], ["0", "1"]),
        (["hydra/launcher=submitit", "hydra.launcher.executor=local"], ["0", "1"]),
        (["hydra/launcher=submitit"], ()),
    ],
)
def test_processes_of_this_machine_divide_its_gpus(sweep, monkeypatch, words, told):
    seen = []

    def run(site, planned):
        seen.append(site.jobs.gpus)
        return engines.run_here(site, planned)

    monkeypatch.setattr("pairedit.sweeps.resources.needs_of", lambda configs: Needs())
    monkeypatch.setattr("pairedit.sweeps.gpus.known", lambda: ["0", "1"])
    monkeypatch.setattr("pairedit.sweeps.plugins.plugin_class", lambda engine: None)
    monkeypatch.setitem(engines.ENGINES, words[0].partition("=")[2], run)
    _, code, err = sweep("seed=0,1", *words)
    assert (code, err) == (0, "")
    assert seen == [told]


def test_what_slurm_is_asked_for():
    assert Needs(gpus=0).for_slurm()["gpus_per_node"] is None
    assert replace(Needs(), minutes=5).for_slurm()["timeout_min"] == 5


@pytest.mark.heavy
# loky replaces a worker that has grown, and says so; as an error it would end the thread that
# brings the results, and the sweep would wait for them for ever.
@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs were given")
@pytest.mark.skipif(
    importlib.util.find_spec("joblib") is None
    or importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None,
    reason="pip install 'pairedit[joblib]'",
)
def test_processes_side_by_side_leave_the_bytes_of_one_after_the_other(sweep):
    words = ["seed=0,1", "learning_rate=0.01,1e30", "steps=4"]  # half of them fail at work
    folder, code, err = sweep(*words, "hydra/launcher=joblib")
    assert code == 1
    assert err.startswith("error: 2 jobs failed:")
    many = {p.parent.parent.name: p.read_bytes() for p in folder.glob("*/*/semantic.safetensors")}
    folder.rename(folder.with_name("many"))
    folder, _, _ = sweep(*words)
    one = {p.parent.parent.name: p.read_bytes() for p in folder.glob("*/*/semantic.safetensors")}
    assert many == one
    assert len(one) == 2

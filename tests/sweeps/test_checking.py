"""What is wrong with a sweep is said before its first job starts, and once."""

from contextlib import nullcontext

import pytest
from omegaconf import OmegaConf

from composing import composed
from pairedit.measure.measures import MEASURES
from pairedit.plan import checked
from pairedit.plan.scores import measures
from pairedit.sweeps import checking, outcome
from pairedit.sweeps.jobs import Jobs
from pairedit.sweeps.launcher import SweepLauncher
from tiny import QUICK


@pytest.fixture
def sweep(command, pair_folder):
    """Run a sweep of trainings on the discs."""

    def run(*words):
        given = ["-m", "dataset=folder", f"pairs={pair_folder}", "report=false", "preview=false"]
        return command("train", *given, *QUICK, *words)

    return run


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["score=autto"], "score=autto: no such measure; there is auto, image change"),
        (["images=/nowhere"], "images=/nowhere: has no effect"),
        (["init=/nowhere"], "init=/nowhere: no such LoRA file"),
        (["precision=fp4,fp5", "end_step=9"], "3 problems with the sweep:\n  - end_step=9: "),
    ],
)
def test_what_is_wrong_with_all_jobs_is_said_once(sweep, tmp_path, words, problem):
    code, out, err = sweep("seed=0,1" if len(words) == 1 else "seed=0", *words)
    assert code == 1
    assert err.startswith(f"error: {problem}")
    assert len(err.splitlines()) == (1 if len(words) == 1 else 4)
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_one_job_names_it_before_the_others_run(sweep, tmp_path):
    code, out, err = sweep("precision=float32,fp4", "hydra.sweep.dir=sweep")
    assert code == 1
    assert err.startswith("error: 1 job failed:\n")
    assert "precision-fp4: precision=fp4: expected" in err
    assert out.index("precision-fp4 is left out: precision=fp4") < out.index("job 1 of 1:")
    states = {p.parent.name: outcome.read(p.parent).status for p in tmp_path.glob("sweep/*/*.json")}
    assert states == {"precision-float32": "done", "precision-fp4": "failed"}


def test_a_sweep_in_the_folder_of_another_is_refused_once(sweep, tmp_path):
    words = ("seed=0,1", "hydra.sweep.dir=sweep")
    assert sweep(*words)[0] == 0
    code, out, err = sweep(*words)
    place = tmp_path / "sweep"
    assert code == 1
    assert err.startswith(f"error: {place}: holds a run already; continue it with pairedit-train ")
    assert len(err.splitlines()) == 1
    assert out == ""
    assert (place / "multirun.yaml").is_file()


def test_a_mistake_of_ours_does_not_look_like_one_of_a_job(sweep, tmp_path, monkeypatch):
    def plan(config, **names):
        return {}["ours"]

    monkeypatch.setattr(checked, "plan_train", plan)
    code, out, err = sweep("seed=0,1")
    assert (code, out) == (1, "")
    assert err == "error: KeyError: 'ours' (HYDRA_FULL_ERROR=1 shows the traceback)\n"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(KeyError, match="ours"):
        sweep("seed=0,1")


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("submitit_local", "write hydra/launcher=submitit hydra.launcher.executor=local"),
        ("joblibb", "did you mean joblib?"),
        ("ray_aws", ""),
    ],
)
def test_launchers_of_the_plugins_are_refused_for_ours(sweep, tmp_path, name, way):
    code, _, err = sweep("seed=0,1", f"hydra/launcher={name}")
    end = f"; {way}" if way else ""
    ours = "basic, joblib, ray or submitit"
    assert (code, err) == (1, f"error: hydra/launcher={name}: expected {ours}{end}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "refused"), [("score=x: no 'violated steps'", True), ("steps=0: no", False)]
)
def test_a_search_is_refused_for_what_is_not_drawn(text, refused):
    """`steps` is drawn, so its usual value may be wrong."""
    launcher = SweepLauncher(engine="basic")
    launcher._config = OmegaConf.create(
        {"hydra": {"sweeper": {"params": {"steps": "choice(1,2)"}}}}
    )

    def check(config, hydra, folder):
        assert "hydra" not in config
        raise ValueError(text)

    launcher._jobs = Jobs(None, full=False, check=check)
    with pytest.raises(ValueError, match=text) if refused else nullcontext():
        launcher._check_usual()
    assert "hydra" in launcher._config


def test_measures_are_known_without_torch():
    assert measures() == list(MEASURES)


def test_that_methods_have_different_steps_is_said_before_the_first_job(
    sweep, tmp_path, monkeypatch
):
    full, graded = (composed("train", f"method={m}", hydra=True) for m in ("full", "graded"))
    assert "in steps: full 500, graded 150" in checking.uneven_jobs([full, graded])
    assert checking.uneven_jobs([full, full]) is None
    assert checking.uneven_jobs([composed("eval", "lora=x", hydra=True)] * 2) is None
    monkeypatch.setattr(checking, "uneven_jobs", lambda configs: f"{len(configs)} are uneven")
    code, out, err = sweep("seed=0,1", "hydra.sweep.dir=sweep")
    assert (code, err) == (0, "")
    assert out.index("2 are uneven") < out.index("job 1 of 2:")

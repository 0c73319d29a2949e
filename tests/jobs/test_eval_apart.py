"""A sweep is measured slider by slider, here or by a launcher, and goes on where it stopped."""

import json
import shutil

import pytest

from pairedit.jobs.bench import Bench
from pairedit.sweeps import engines
from tiny import strong_lora

QUICK = ["seeds=[3,5]", "scales=[0.5,1]", "skip=1", "reader=[probe]"]
FILES = ("report.html", "eval.json", "eval.csv", "curves.png", "config.yaml")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("apart")


@pytest.fixture
def sweep(flux, place):
    """Write three sliders of two edits, as a sweep leaves them."""
    for number, name in enumerate(("a/disc", "b/disc", "b/other")):
        strong_lora(flux, place / "sweep" / name / "semantic.safetensors", seed=number)
    return place / "sweep"


@pytest.fixture
def evaluate_sweep(command, sweep, pair_folder, tmp_path):
    """Run an evaluation of the sweep in a folder; return its exit code, stderr and files."""

    def run(name, *words):
        folder = tmp_path / name
        usual = [f"sweep={sweep}", f"pairs={pair_folder}", *QUICK, "match=0.01"]
        code, out, err = command("eval", *usual, *words, f"hydra.run.dir={folder}")
        paths = [*(folder / file for file in FILES), *sorted(folder.glob("sheets/*"))]
        files = {path.name: path.read_bytes() for path in paths if path.is_file()}
        return code, out, err, files

    return run


@pytest.fixture
def whole(evaluate_sweep, place):
    """Measure the sweep here, once for all tests; return its files by name."""
    kept = place / "whole"
    if not kept.exists():
        code, _, err, files = evaluate_sweep("whole")
        assert (code, err) == (0, "")
        kept.mkdir()
        for name, content in files.items():
            (kept / name).write_bytes(content)
    return {path.name: path.read_bytes() for path in kept.iterdir()}


@pytest.fixture
def counted(monkeypatch):
    """List the sliders that are really measured; one that is named in `failing` fails."""
    seen, failing, whole = [], {}, Bench.measure

    def measure(bench, subjects, keep):
        seen.extend(subject.label for subject in subjects)
        if seen[-1] in failing:
            raise failing[seen[-1]]
        return whole(bench, subjects, keep)

    monkeypatch.setattr(Bench, "measure", measure)
    return seen, failing


def test_what_was_broken_off_goes_on_to_the_same_bytes(
    evaluate_sweep, whole, counted, flux, sweep, tmp_path
):
    seen, failing = counted
    assert {"disc.png", "other.png", *FILES} == set(whole)
    labels = [s["slider"] for s in json.loads(whole["eval.json"])["sliders"]]
    failing[labels[1]] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        evaluate_sweep("broken")
    assert seen == labels[:2]
    failing.clear()
    seen.clear()
    code, out, err, files = evaluate_sweep("broken")
    assert (code, err) == (0, "")
    assert seen == labels[1:]
    assert "1 of 3 sliders were measured before" in out
    assert files == whole
    assert not (tmp_path / "broken/side-by-side").exists()
    # A sweep that has grown costs what is new.
    seen.clear()
    strong_lora(flux, sweep / "c/disc/semantic.safetensors", seed=7)
    assert evaluate_sweep("broken")[0] == 0
    assert seen == ["c"]
    shutil.rmtree(sweep / "c")
    # Whatever else it is measured by is measured again.
    seen.clear()
    assert evaluate_sweep("broken", "seeds=[3,8]")[0] == 0
    assert seen == labels


def test_a_slider_that_fails_is_named_and_the_rest_done(evaluate_sweep, counted, tmp_path):
    seen, failing = counted
    failing["b"] = RuntimeError("no luck")
    code, _, err, files = evaluate_sweep("eval")
    assert code == 1
    assert err.startswith("error: 1 of 3 sliders could not be measured:")
    assert "b_disc: RuntimeError: no luck" in err
    edits = [s["edit"] for s in json.loads(files["eval.json"])["sliders"]]
    assert edits == ["disc", "other"]
    assert b"1 of 3 sliders could not be measured" in files["report.html"]
    failing |= {label: RuntimeError("no luck") for label in set(seen)}
    code, _, err, files = evaluate_sweep("none")
    assert code == 1
    assert err.startswith("error: 3 of 3 sliders could not be measured:")
    assert not files


@pytest.mark.parametrize("engine", ["joblib", "ray", "submitit"])
def test_a_launcher_s_jobs_leave_the_bytes_of_one_after_the_other(
    engine, evaluate_sweep, whole, monkeypatch, tmp_path
):
    started = []

    def run(site, planned):
        started.append([job.folder.name for job in planned])
        assert all((job.folder.parent / ".jobs").is_dir() or engine == "ray" for job in planned)
        return engines.run_here(site, planned)

    monkeypatch.setitem(engines.ENGINES, engine, run)
    monkeypatch.setattr("pairedit.sweeps.plugins.plugin_class", lambda engine: None)
    code, out, err, files = evaluate_sweep("spread", f"hydra/launcher={engine}")
    assert (code, err) == (0, "")
    assert started == [["a_disc", "b_disc", "b_other"], ["disc"]]
    assert files == whole
    assert out.splitlines()[-1] == f"report: {tmp_path / 'spread/report.html'}"
    log = (tmp_path / "spread/eval.log").read_text()
    assert log.splitlines()[-1] == out.splitlines()[-1]
    code, _, err, files = evaluate_sweep("spread", f"hydra/launcher={engine}")
    assert (code, err, files) == (0, "", whole)
    assert started[2:] == [["disc"]], "nothing but the sheet"


def test_jobs_of_a_launcher_that_fail_are_named(evaluate_sweep, counted, monkeypatch):
    _, failing = counted
    monkeypatch.setitem(engines.ENGINES, "joblib", engines.run_here)
    monkeypatch.setattr("pairedit.sweeps.plugins.plugin_class", lambda engine: None)
    failing |= {"semantic": RuntimeError("no luck"), "b": RuntimeError("no luck")}
    code, _, err, files = evaluate_sweep("eval", "hydra/launcher=joblib")
    assert code == 1
    assert err.startswith("error: 2 of 3 sliders could not be measured:")
    for name in ("b_disc", "b_other"):
        assert f"{name}: RuntimeError: no luck" in err
    assert [s["slider"] for s in json.loads(files["eval.json"])["sliders"]] == ["a"]


def test_a_launcher_without_a_sweep_has_nothing_to_run(command, sweep, tmp_path):
    words = [f"lora={sweep / 'a/disc/semantic.safetensors'}", "hydra/launcher=joblib"]
    code, _, err = command("eval", *words, *QUICK, f"hydra.run.dir={tmp_path / 'eval'}")
    assert code == 1
    assert err == "error: hydra/launcher=joblib: runs the sliders of sweep=FOLDER side by side\n"

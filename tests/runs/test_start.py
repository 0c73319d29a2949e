"""How a run was started: it goes on, and starts again, from any working folder."""

import os

import pytest
import yaml

from pairedit.runs import resume
from pairedit.runs.folder import begin, check_again, differences
from pairedit.runs.lock import locked
from pairedit.runs.resume import again_folder, expand_resume, fresh_folder, resume_command


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Begin a run with relative paths in a working folder of its own; end in another."""
    (tmp_path / "first/my pairs").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "first")

    def start(*words, resolved=None, folder=tmp_path / "first/run", resume=False):
        with locked(folder):
            return begin(
                folder,
                names=["disc"],
                resolved=resolved or {"pairs": "my pairs", "datasets": {"a": {"folder": "x"}}},
                words=["dataset=folder", "pairs=my pairs", *words],
                resume=resume,
            )

    start()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return start


def test_relative_paths_mean_the_same_from_elsewhere(run, tmp_path):
    words = expand_resume(["resume=../first/run"])
    assert os.getcwd() == str(tmp_path / "first")
    place = f"hydra.run.dir={tmp_path}/first/run"
    assert words == ["dataset=folder", "pairs=my pairs", "resume=auto", place]


def test_a_path_that_is_given_anew_belongs_to_the_folder_it_was_typed_in(run, tmp_path):
    words = expand_resume(["resume=../first/run", "pairs=../first/my pairs"])
    assert f'pairs="{tmp_path}/first/my pairs"' in words


def test_another_spelling_of_a_folder_is_no_other_configuration(run, tmp_path):
    work = tmp_path / "first"
    (work / "run/disc").mkdir()
    (work / "run/disc/semantic.safetensors").touch()
    spelt = {"pairs": str(work / "my pairs"), "datasets": {"a": {"folder": f"{work}/x/../x"}}}
    noted = run(resolved=spelt, resume=True)
    assert noted == {"pairs": "my pairs", "datasets": {"a": {"folder": "x"}}}
    with pytest.raises(ValueError, match="another configuration: pairs: my pairs there"):
        run(resolved={**spelt, "pairs": str(tmp_path)}, resume=True)
    # Only paths: a prompt has one spelling.
    assert differences({"prompt": "a"}, {"prompt": "./a"}) == ["prompt: a there, ./a now"]


def test_again_starts_in_a_new_folder_what_is_the_same_today(run, tmp_path):
    *words, place = expand_resume(["again=../first/run"])
    assert words == ["dataset=folder", "pairs=my pairs"]
    folder = place.removeprefix("hydra.run.dir=")
    assert folder.startswith(f"{tmp_path}/elsewhere/outputs/train/")
    os.chdir(tmp_path / "elsewhere")
    assert "hydra.run.dir=" + str(tmp_path / "elsewhere/x") in expand_resume(
        ["again=../first/run", "hydra.run.dir=x"]
    )
    old = tmp_path / "first/run"
    check_again(
        old, {"pairs": str(tmp_path / "first/my pairs"), "datasets": {"a": {"folder": "x"}}}
    )
    with pytest.raises(ValueError, match=r"again=.*datasets\.a\.folder: x there, y now"):
        check_again(old, {"pairs": "my pairs", "datasets": {"a": {"folder": "y"}}})
    assert again_folder(["again=x", "hydra.run.dir=y", "-m"]) == tmp_path / "first/x"
    assert again_folder(["again=x", "steps=3"]) is None
    assert again_folder(["steps=3"]) is None
    with pytest.raises(ValueError, match="expected one of them"):
        expand_resume(["again=x", "resume=y"])


def test_options_of_hydra_are_for_the_user_to_give_again(run, tmp_path):
    folder = tmp_path / "first/other"
    run("--config-dir=/mine", folder=folder)
    command = f"pairedit-train --config-dir=/mine resume={folder}"
    assert resume_command(folder) == command
    with pytest.raises(ValueError, match="was started with --config-dir=/mine") as refused:
        expand_resume([f"resume={folder}"])
    assert str(refused.value).endswith(f"continue with: {command}")
    (tmp_path / "mine").mkdir()
    os.chdir(tmp_path)
    words = expand_resume(["--config-dir", "mine", f"resume={folder}"])
    assert words[words.index("--config-dir") + 1] == str(tmp_path / "mine")


def test_a_sweep_knows_where_it_began(tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    sources = [{"path": "/mine", "schema": "file", "provider": "command-line"}]
    hydra = {
        "overrides": {"task": ["steps=1,2"], "hydra": ["hydra.mode=MULTIRUN"]},
        "runtime": {"cwd": str(tmp_path / "first"), "config_sources": sources},
    }
    (sweep / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
    monkeypatch.chdir(tmp_path)
    assert resume_command(sweep) == f"pairedit-train --config-dir=/mine resume={sweep}"
    words = expand_resume([f"resume={sweep}", "--config-dir=/mine"])
    assert words[-2:] == [f"hydra.sweep.dir={sweep}", "-m"]
    assert os.getcwd() == str(tmp_path / "first")


def test_two_commands_in_one_second_get_a_folder_each(tmp_path, monkeypatch):
    real = resume.datetime
    monkeypatch.setattr(resume, "datetime", type("Still", (), {"now": lambda: real(2026, 1, 31)}))
    folders = [fresh_folder(tmp_path) for _ in range(3)]
    assert [path.name for path in folders] == [
        "2026-01-31_00-00-00",
        "2026-01-31_00-00-00_2",
        "2026-01-31_00-00-00_3",
    ]
    assert all(path.is_dir() for path in folders)
    assert not fresh_folder("/proc/nowhere").exists()  # said by whoever writes there

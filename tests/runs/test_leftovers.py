"""A command that is refused leaves nothing behind, and what was there before stays."""

import shutil
import sys

import pytest

from pairedit import cli
from pairedit.runs import leftovers


@pytest.fixture(autouse=True)
def _fresh():
    leftovers.clear(begun=True)
    yield
    leftovers.clear(begun=True)


def test_empty_folders_go_that_were_not_there_before(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for folder in (mine, tmp_path / "a/b/c", tmp_path / "full/d"):
        leftovers.note(folder)
        folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "full/file").touch()
    leftovers.clear(begun=False)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine"]


@pytest.mark.parametrize("begun", [False, True])
def test_files_of_a_sweep_that_never_began_are_as_they_were(tmp_path, begun):
    old, new = tmp_path / "old.yaml", tmp_path / "new/new.yaml"
    old.write_text("before")
    for path in (old, new):
        leftovers.note(path.parent)
        leftovers.keep(path)
        path.parent.mkdir(exist_ok=True)
        path.write_text("after")
    leftovers.clear(begun=begun)
    assert old.read_text() == ("after" if begun else "before")
    assert new.exists() == new.parent.exists() == begun


@pytest.mark.parametrize("place", [[], ["hydra.run.dir=runs/one"]])
@pytest.mark.parametrize("name", ["train", "gen", "eval"])
def test_a_refused_command_leaves_nothing(command, tmp_path, name, place):
    code, _, err = command(name, "batch_size=0", "precision=fp4", *place)
    assert code == 1
    assert "precision=fp4: expected" in err
    assert list(tmp_path.iterdir()) == []


def test_a_refused_command_leaves_the_folder_that_was_there(command, tmp_path):
    (tmp_path / "mine").mkdir()
    assert command("train", "steps=0", "hydra.run.dir=mine")[0] == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize("word", ["steps=0,-1", "steps=1,x", "hydra.launcher.tries=0"])
def test_a_refused_sweep_leaves_nothing(command, tmp_path, word):
    assert command("train", "-m", "seed=0,1", word)[0] == 1
    assert list(tmp_path.iterdir()) == []


def test_a_refused_sweep_leaves_what_another_one_wrote(command, tmp_path):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    for name in ("multirun.yaml", "jobs.yaml"):
        (sweep / name).write_text("{}\n")
    assert command("train", "-m", "steps=0,-1", "hydra.sweep.dir=sweep")[0] == 1
    assert sorted(path.name for path in sweep.iterdir()) == ["jobs.yaml", "multirun.yaml"]
    assert {path.read_text() for path in sweep.iterdir()} == {"{}\n"}


@pytest.mark.parametrize("words", [[], ["resume=auto"]])
def test_a_training_whose_model_cannot_be_read_leaves_nothing(
    tiny_flux_folder, tiny_overrides, tmp_path, monkeypatch, capfd, words
):
    torn = shutil.copytree(tiny_flux_folder, tmp_path / "torn")
    (weights,) = (torn / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-64])
    words += [*tiny_overrides, f"model.path={torn}", f"hydra.run.dir={tmp_path / 'run'}"]
    monkeypatch.setattr(sys, "argv", ["pairedit-train", "steps=1", *words])
    with pytest.raises(SystemExit):
        cli.train()
    assert f"model.path={torn}: not a readable FLUX model" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()

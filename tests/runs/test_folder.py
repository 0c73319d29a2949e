"""A run's folder belongs to one run."""

import platform
from importlib.metadata import version

import pytest

import pairedit
from pairedit.files import PACKAGE, read_yaml
from pairedit.runs.folder import begin, differences
from pairedit.runs.lock import locked


def test_a_folder_says_what_differs(tmp_path):
    (tmp_path / "disc").mkdir()

    def start(*, b=1.0, names=("disc",), resume=True):
        resolved = {"a": {"b": b}, "c": 2}
        begin(tmp_path, names=names, resolved=resolved, words=["c=2"], resume=resume)

    with locked(tmp_path):
        start(resume=False)
        (tmp_path / "disc/semantic.safetensors").touch()
        with pytest.raises(ValueError, match="holds a run already; continue it with pairedit-"):
            start(resume=False)
        start()
        with pytest.raises(ValueError, match=r"another configuration: a\.b: 1\.0 there, 2\.0 now"):
            start(b=2.0)
        with pytest.raises(
            ValueError, match=f"own settings, and pairedit-train resume={tmp_path} "
        ):
            start(b=2.0)
        # Another dataset would replace what says how this one was trained.
        with pytest.raises(ValueError, match="holds a run already"):
            start(names=["other"], resume=False)
        (tmp_path / "config.yaml").write_text("[")
        with pytest.raises(ValueError, match=r"config\.yaml: cannot be read"):
            start()
    # A key that a newer version has added is no difference; one that it has lost is.
    assert differences({"a": 1}, {"a": 1, "new": 0}) == []
    assert differences({"a": 1, "old": 0}, {"a": 1}) == ["old: 0 there, nothing now"]


def test_what_was_not_trained_here_does_not_take_the_folder(tmp_path):
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras/sunset.safetensors").touch()
    begin(tmp_path, names=["disc"], resolved={}, words=[], resume=False)


def test_a_run_notes_by_what_and_where_it_was_started(tmp_path):
    begin(tmp_path, names=["x"], resolved={"steps": 3}, words=["steps=3"], resume=False)
    noted = read_yaml(tmp_path / "started.yaml", dict)
    assert noted["versions"]["pairedit"] == pairedit.__version__
    assert noted["versions"]["torch"] == version("torch")
    assert noted["machine"]["name"] == platform.node()
    assert ("commit" in noted) is (PACKAGE.parents[1] / ".git").exists()

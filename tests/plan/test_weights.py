"""What must be fetched is said before torch is imported, and refused where it cannot be."""

from types import SimpleNamespace

import pytest

from pairedit.plan.weights import look_for

HUB = SimpleNamespace(path="no-one/FLUX")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Give an empty cache of the hub; return what lets it be asked, or not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def offline(whether):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", whether)

    offline(False)
    return offline


def test_a_download_is_said_before_it_begins(hub, caplog):
    look_for(HUB)
    (line,) = caplog.messages
    assert line.startswith(
        "model.path=no-one/FLUX: no such folder, and not in the model hub's local"
    )


def test_offline_it_is_refused_at_once_with_the_folder_that_was_meant(hub, tmp_path, monkeypatch):
    hub(True)
    with pytest.raises(
        ValueError, match=r"^model\.path=no-one/FLUX: .*unset HF_HUB_OFFLINE.*model$"
    ):
        look_for(HUB)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/FLUX").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"did you mean .*models/FLUX\?$"):
        look_for(SimpleNamespace(path="models/FLXU"))


def test_what_is_there_is_not_said(hub, tmp_path, caplog, monkeypatch):
    hub(True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    look_for(SimpleNamespace(path="models"))
    kept = tmp_path / "hub/models--no-one--FLUX"
    (kept / "snapshots/1").mkdir(parents=True)
    (kept / "snapshots/1/model_index.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs/main").write_text("1")
    look_for(HUB)
    look_for(SimpleNamespace(path="of/my/own"))
    assert not caplog.messages

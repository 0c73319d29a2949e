"""The jobs of a sweep are one group in Weights & Biases, and its evaluation is beside them."""

import logging

import pytest

from pairedit.runs.tensorboard import TensorBoard
from pairedit.runs.wandb import _group
from tiny import QUICK


@pytest.fixture
def opened(monkeypatch):
    """List the runs that wandb is asked for."""
    import wandb

    runs, init = [], wandb.init

    def start(**keys):
        runs.append(keys)
        return init(**keys)

    monkeypatch.setattr(wandb, "init", start)
    monkeypatch.setenv("WANDB_API_KEY", "")
    yield runs
    logging.getLogger("wandb").handlers.clear()


def test_jobs_of_a_sweep_and_its_evaluation_are_of_one_group(
    opened, command, pair_folder, tmp_path
):
    words = ["-m", "seed=0,1", "dataset=folder", f"pairs={pair_folder}", *QUICK, "report=false"]
    place = [f"hydra.sweep.dir={tmp_path / 'eta'}", "preview=false", "tracker=wandb"]
    assert command("train", *words, *place)[0] == 0
    assert [run["group"] for run in opened] == ["eta", "eta"]
    assert {run["mode"] for run in opened} == {"offline"}
    assert len(list(tmp_path.glob("eta/*/disc/wandb/offline-run-*/*.wandb"))) == 2
    words = [f"sweep={tmp_path / 'eta'}", "seeds=[3]", "scales=[1]", "skip=1", "reader=[probe]"]
    assert command("eval", *words, "tracker=wandb", f"hydra.run.dir={tmp_path / 'eval'}")[0] == 0
    assert [run["group"] for run in opened] == ["eta"] * 3


def test_a_single_training_is_of_no_group(tmp_path):
    assert _group(tmp_path / "run/smile", {"sweep": None}) is None


def test_tensorboard_shows_what_a_training_kept(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="needs pip install 'pairedit[tensorboard]'")
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = TensorBoard().open("smile", tmp_path, {}, resume=False)
    for step in (1, 2, 3):
        run.log(step, {"loss": step / 8})
    run.rewind(2)  # the third step was after the last checkpoint
    run.log(3, {"loss": 0.75})
    Image.new("RGB", (4, 4), "red").save(tmp_path / "sheet.png")
    run.image("preview", tmp_path / "sheet.png", 3)
    run.table("sliders", ["edit", "off-target"], [["smile", 0.05]], 3)
    run.commit()
    run.finish()
    found = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in found.Scalars("loss")]
    assert losses == [(1, 0.125), (2, 0.25), (3, 0.75)]
    assert found.Tags()["images"] == ["preview"]
    (text,) = found.Tensors("sliders/text_summary")
    assert b"| smile | 0.05 |" in text.tensor_proto.string_val[0]


def test_a_sweep_is_shown_by_tensorboard_as_a_whole(command, pair_folder, tmp_path):
    pytest.importorskip("tensorboard", reason="needs pip install 'pairedit[tensorboard]'")
    words = ["-m", "seed=0,1", "dataset=folder", f"pairs={pair_folder}", *QUICK, "report=false"]
    place = [f"hydra.sweep.dir={tmp_path / 'eta'}", "preview=false", "tracker=tensorboard"]
    code, _, err = command("train", *words, *place)
    assert (code, err) == (0, "")
    folders = [path.parent for path in tmp_path.glob("eta/*/disc/tensorboard/events.*")]
    assert sorted(f.parents[1].name for f in folders) == ["seed-0", "seed-1"]

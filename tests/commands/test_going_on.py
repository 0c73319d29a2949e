"""A finished training goes on, or another one starts from it."""

import shutil

import pytest
import torch
import yaml

from pairedit.bases.known import USUAL
from pairedit.lora.file import read_lora
from pairedit.runs.folder import REPORT, SHOWN
from tiny import assert_same_edit

PLAIN = ("preview=false", "report=false", "learning_rate=0.01", "latents=sample")
ROLES = ("content", "semantic")


@pytest.fixture
def finished(trained, tmp_path):
    """Return the folder of a training of four steps."""
    return trained(tmp_path / "short", *PLAIN, "steps=4")


def payloads(folder):
    return {role: read_lora(folder / f"disc/{role}.safetensors") for role in ROLES}


def test_more_steps_give_the_bytes_of_a_longer_training(command, train_disc, finished, tmp_path):
    assert train_disc(tmp_path / "long", *PLAIN, "steps=10")[0] == 0
    (finished / "disc/semantic-kohya.safetensors").write_bytes(b"of four steps")
    code, out, err = command("train", f"resume={finished}", "steps=10")
    assert (code, err) == (0, "")
    assert "disc: goes on after step 4 of 10" in out
    assert "older than the slider: semantic-kohya.safetensors; export it again" in out
    long, parts = payloads(tmp_path / "long"), payloads(finished)
    for role in ROLES:
        assert parts[role].sha256 == long[role].sha256
        assert parts[role].metadata.pop("origin") == {"ended": [4]}
        assert parts[role].metadata == long[role].metadata
    assert (finished / "config.yaml").read_text() == (tmp_path / "long/config.yaml").read_text()
    lines = (finished / "disc/metrics.jsonl").read_text().splitlines()
    assert len(lines) == 10
    assert (finished / "disc/loss.png").read_bytes() == (
        tmp_path / "long/disc/loss.png"
    ).read_bytes()
    (state,) = (finished / "disc/state").iterdir()
    assert state.name.startswith("000010-")
    # The same words once more, and none: all is done.
    for words in (["steps=10"], []):
        code, out, err = command("train", f"resume={finished}", *words)
        assert (code, err) == (0, "")
        assert "disc: finished already" in out
    code, _, err = command("train", f"resume={finished}", "steps=7")
    assert code == 1
    assert "steps: 10 there, 7 now" in err
    assert "steps is a run's total, so more than 10 goes on" in err


def test_a_state_that_is_gone_is_said_and_changes_nothing(command, finished):
    shutil.rmtree(finished / "disc/state")
    before = (finished / "overrides.yaml").read_text()
    code, _, err = command("train", f"resume={finished}", "steps=10")
    assert code == 1
    assert "has ended after 4 steps, and the state to go on from is gone" in err
    assert f"init={finished}/disc steps=6" in err
    assert (finished / "overrides.yaml").read_text() == before
    code, out, _ = command("train", f"resume={finished}")
    assert code == 0
    assert "disc: finished already" in out


def test_no_step_from_init_gives_the_deltas_of_the_file(train_disc, finished, tmp_path):
    code, out, err = train_disc(tmp_path / "same", *PLAIN, "steps=0", f"init={finished}")
    assert (code, err) == (0, "")
    old, new = payloads(finished), payloads(tmp_path / "same")
    for role in ROLES:
        assert_same_edit(old[role], new[role])
        assert f"the {role} LoRA starts from {old[role].path}: " in out
        origin = new[role].metadata["origin"]["init"]
        assert origin["sha256"] == old["semantic"].sha256
        assert (origin["file"], origin["step"]) == ("semantic.safetensors", 4)
    config = yaml.safe_load((tmp_path / "same/config.yaml").read_text())
    assert config["init"] == str(finished)


@pytest.mark.parametrize("rank", [1, 5])
def test_another_rank_and_other_targets_are_said(train_disc, finished, tmp_path, rank):
    words = (*PLAIN, "steps=2", f"lora.rank={rank}", "lora.targets=attention_mlp")
    code, out, err = train_disc(tmp_path / "other", *words, f"init={finished}/disc")
    assert (code, err) == (0, "")
    assert "of the targets are not in it and start new" in out
    assert f"rank 2 becomes {rank}, which loses" in out
    assert ("loses nothing" in out) is (rank == 5)


def test_a_file_alone_starts_the_slider_and_says_that_content_is_new(
    train_disc, finished, export, tmp_path
):
    lora = tmp_path / "foreign.pt"
    code, _, err = export(
        f"lora={finished}/disc/semantic.safetensors", "layout=published", f"out={lora}"
    )
    assert code == 0, err
    code, out, err = train_disc(tmp_path / "new", *PLAIN, "steps=0", f"init={lora}")
    assert (code, err) == (0, "")
    assert "the content LoRA starts new, because init= has none" in out
    assert_same_edit(read_lora(lora, USUAL.names), payloads(tmp_path / "new")["semantic"])


def test_content_is_taken_from_the_state_where_its_file_is_gone(train_disc, finished, tmp_path):
    old = payloads(finished)["content"]
    (finished / "disc/content.safetensors").unlink()
    code, out, err = train_disc(tmp_path / "new", *PLAIN, "steps=0", f"init={finished}")
    assert (code, err) == (0, "")
    assert "is a checkpoint; the content LoRA of step 4 is taken from it" in out
    assert_same_edit(old, payloads(tmp_path / "new")["content"])


def test_what_starts_nothing_is_refused(train_disc, finished, tmp_path):
    code, _, err = train_disc(tmp_path / "a", "steps=0")
    assert code == 1
    assert "steps=0: expected at least 1" in err
    code, _, err = train_disc(tmp_path / "b", f"init={tmp_path}/nowhere")
    assert code == 1
    assert f"init={tmp_path}/nowhere: no such LoRA file" in err
    (tmp_path / "empty").mkdir()
    code, _, err = train_disc(tmp_path / "c", f"init={tmp_path}/empty")
    assert code == 1
    assert "holds no training; there is no semantic LoRA" in err


def test_an_interrupted_run_that_started_from_another_goes_on_to_the_same_bytes(
    command, train_disc, finished, tmp_path, monkeypatch
):
    words = (*PLAIN, "steps=4", "save_every=2", f"init={finished}")
    assert train_disc(tmp_path / "whole", *words)[0] == 0
    step = torch.optim.AdamW.step
    seen = []

    def stop(self, *given, **more):
        seen.append(None)
        if len(seen) == 4:
            raise OSError("pulled out")
        return step(self, *given, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", stop)
    assert train_disc(tmp_path / "parts", *words)[0] == 1
    code, out, err = command("train", f"resume={tmp_path / 'parts'}")
    assert (code, err) == (0, "")
    assert "goes on after step 2 of 4" in out
    for role in ROLES:
        left, right = (tmp_path / run / f"disc/{role}.safetensors" for run in ("whole", "parts"))
        assert left.read_bytes() == right.read_bytes()


def test_a_longer_training_that_breaks_goes_on_as_well(
    command, train_disc, finished, tmp_path, monkeypatch
):
    assert train_disc(tmp_path / "long", *PLAIN, "steps=7")[0] == 0
    shown = {name: finished / "disc" / name for name in SHOWN}
    for name in ("preview.png", "report.json", REPORT):
        shown[name].write_bytes(b"of four steps")
    old = {name: path.read_bytes() for name, path in shown.items()}
    with monkeypatch.context() as broken:
        broken.setattr(torch.optim.AdamW, "step", lambda *_, **__: 1 / 0)
        code, out, _ = command("train", f"resume={finished}", "steps=7")
    assert (code, "the files of step 4 stay until step 7 is done" in out) == (1, True)
    assert {name: path.read_bytes() for name, path in shown.items()} == old
    # The folder remembers that more was asked for.
    code, out, err = command("train", f"resume={finished}")
    assert (code, err) == (0, "")
    assert "disc: goes on after step 4 of 7" in out
    for role in ROLES:
        assert payloads(finished)[role].sha256 == payloads(tmp_path / "long")[role].sha256
    # Those of four steps do not stand beside the LoRA of seven.
    assert [name for name, path in shown.items() if path.exists()] == ["loss.png"]
    assert shown["loss.png"].read_bytes() == (tmp_path / "long/disc/loss.png").read_bytes()

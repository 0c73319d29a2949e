"""Words, encodings and files as people bring them, through the commands themselves."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from composing import composed
from pairedit import cli
from pairedit.files import CONF
from pairedit.jobs.opening import read_part
from pairedit.lora.file import read_lora
from pairedit.plan.gen import plan_gen
from pairedit.plan.roles import checkpoint_step
from tiny import QUICK


def run(*words, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pairedit", *words],
        capture_output=True,
        env={**os.environ, **environment},
    )


def test_the_commands_are_listed_with_a_line_each():
    done = run()
    listed = done.stdout.decode().splitlines()
    assert done.returncode == 0
    for line, name in zip(listed, ("train", "gen", "eval", "export"), strict=False):
        assert line.startswith(f"pairedit-{name}: ")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_line_is_printed_whatever_the_encoding(encoding):
    done = run("train", "model=flux-é-日本", PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    assert done.stderr.decode(encoding).startswith("error: model=flux-")
    assert rb"\u65e5\u672c" in done.stderr


def test_a_result_with_letters_that_the_terminal_lacks_is_named(tmp_path, train_disc, monkeypatch):
    place = tmp_path / "é日"
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    code, _, err = train_disc(f"'{place}'", "preview=false", "report=false")
    assert (code, err) == (0, "")
    out.flush()
    said = out.buffer.getvalue()
    assert rb"lora=" in said
    assert rb"\xe9\u65e5" in said
    assert "é日" in (place / "train.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("word", "locale"),
    [
        (b"prompts=caf\xe9", "C"),
        (b"prompts=caf\xe9", "C.UTF-8"),
        (b"\xff", "C"),
        (b"lora=\xff.pt", "C.UTF-8"),
        (b"--x=\xfe", "C"),
    ],
)
def test_bytes_that_are_no_text_get_one_line(word, locale):
    done = run("gen", word, LC_ALL=locale, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"not UTF-8 text" in done.stderr


ATOMS = (
    *"=+~@:/.[]{},$\\*()#%0aé",
    *("'", '"', "-", "--", " ", "\n", "\x1b[31m", "${", "\ud83d", "\udce9", "1e5", "null", "true"),
    *("steps", "lora", "dataset", "model", "hydra", "hydra.run.dir", "_target_", "seeds", "old"),
    *("glob(", "choice(1,2)", "range(1,3)", "resume", "sweep", "hydra/launcher", "defaults"),
)
WORDS = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5).map("".join)


@given(
    words=st.lists(WORDS, min_size=1, max_size=3), name=st.sampled_from(["train", "gen", "eval"])
)
@example(words=["steps", "=", "5"], name="train")
@example(words=["=", "5"], name="train")
@example(words=["=5", "~", "+="], name="gen")
@settings(max_examples=15, deadline=None, derandomize=True)
def test_words_of_any_shape_get_one_line_for_each_problem(words, name):
    # The base model is missing, so that nothing runs whatever the words are.
    out, err = io.StringIO(), io.StringIO()
    arguments = [f"pairedit-{name}", *words, "model.path=/nowhere"]
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", arguments)
        patch.chdir(folder)
        with pytest.raises(SystemExit):
            getattr(cli, name)()
    for noise in ("Traceback", "HYDRA_FULL_ERROR"):
        assert noise not in err.getvalue()
    lines = err.getvalue().splitlines()
    assert all(line.startswith(("error: ", "  - ", "note: ")) for line in lines), lines


def test_a_folder_holds_for_several_runs_too(command, pair_folder, tmp_path):
    words = (
        "dataset=folder",
        f"pairs={pair_folder}",
        "hydra.run.dir=mine",
        *QUICK,
        "preview=false",
        "report=false",
    )
    code, _, err = command("train", "-m", "seed=1,2", *words)
    assert (code, err) == (0, "")
    assert len(list((tmp_path / "mine").glob("*/disc/semantic.safetensors"))) == 2
    assert not (tmp_path / "outputs").exists()


def test_two_commands_of_one_second_get_a_folder_each(command, tmp_path, monkeypatch):
    from pairedit.runs import resume

    now = resume.datetime(2026, 1, 31)
    monkeypatch.setattr(resume, "datetime", type("Still", (), {"now": lambda: now}))
    for _ in range(2):
        code, _, err = command("gen", "seeds=1", "skip=0")
        assert (code, err) == (0, "")
    assert len(list((tmp_path / "outputs/gen").glob("*/images/*.png"))) == 2


def test_a_checkpoint_renders_as_the_slider_it_holds(
    command, train_disc, tmp_path, monkeypatch, tiny_overrides
):
    monkeypatch.setattr("pairedit.runs.progress.remove_checkpoints", lambda folder: None)
    monkeypatch.setattr("pairedit.jobs.train.remove_checkpoints", lambda folder: None)
    words = ("save_every=1", "snapshots=true", "lora.alpha=3", "preview=false", "report=false")
    code, out, err = train_disc(tmp_path / "run", *words)
    assert code == 0, err
    (path,) = (tmp_path / "run/disc/checkpoints").glob("000001-*.safetensors")
    assert checkpoint_step(path) == 1
    snapshot = tmp_path / "run/disc/semantic-000001.safetensors"
    assert checkpoint_step(snapshot) is None
    code, out, err = command("gen", f"lora={path}", "scales=[0,1]", "seeds=1", "skip=0")
    assert (code, err) == (0, "")
    assert "is a checkpoint; the semantic LoRA of step 1 is taken from it" in out
    code, _, err = command("eval", f"lora={path}", "skip=0")
    assert code == 1
    assert "a checkpoint of a training, not a LoRA file; pairedit-gen renders it" in err
    plan = plan_gen(composed("gen", f"lora={path}", "skip=0", *tiny_overrides))
    _same(read_part(path, plan.model), read_lora(snapshot))


def test_a_content_lora_as_slider_is_named(command, trained, tmp_path):
    run = trained(tmp_path / "run", "preview=false", "report=false")
    content = run / "disc/content.safetensors"
    code, out, err = command("gen", f"lora={content}", "scales=[1]", "seeds=1", "skip=0")
    assert (code, err) == (0, "")
    slider = content.with_name("semantic.safetensors")
    assert f"{content} is a content LoRA" in out
    assert f"the slider is probably {slider}" in out


def test_a_list_that_was_one_prompt_is_named(command, tmp_path):
    code, out, err = command("gen", "prompts=[an old man, smiling]", "seeds=1", "skip=0")
    assert (code, err) == (0, "")
    assert "prompts: these are 2 prompts, an old man and smiling" in out
    assert "'prompts=\"an old man, smiling\"'" in out
    _, out, _ = command("gen", "prompts=[a man, a woman]", "seeds=1", "skip=0", "hydra.run.dir=x")
    assert "of them" not in out


def test_one_side_of_the_pairs_is_recognised(command, pair_folder):
    code, _, err = command("train", "dataset=folder", f"pairs={pair_folder}/source")
    assert code == 1
    said = "holds one side of the pairs; write"
    assert err == f"error: pairs={pair_folder}/source: {said} pairs={pair_folder}\n"


def test_options_of_the_user_are_known_where_one_is_misspelt(command, tmp_path):
    (tmp_path / "mine/method").mkdir(parents=True)
    text = (CONF / "method/fm.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine/method/own.yaml").write_text(text)
    code, _, err = command("train", f"--config-dir={tmp_path / 'mine'}", "method=owm", "lr=1")
    assert code == 1
    assert "method=owm: no such option; there is fm, full, graded, inversion, own," in err
    assert "lr: no such key; did you mean learning_rate? Write learning_rate=1" in err
    code, _, err = command("train", "--config-dir=nowhere")
    assert (code, err.count("\n")) == (1, 1)
    assert "nowhere: no such folder" in err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import not_there", "No module named 'not_there'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", "has no Own"),
        ("class Owm: pass", "has no Own; near it: Owm"),
    ],
)
def test_a_class_of_the_working_folder_is_found_or_named(command, tmp_path, content, said):
    name = f"own_{abs(hash(content))}"
    (tmp_path / f"{name}.py").write_text(content)
    code, _, err = command("train", f"method._target_={name}.Own", "dataset=age")
    assert code == 1
    assert f"_target_={name}.Own: " in err
    assert said in err


def _same(one, other):
    assert set(one.weights) == set(other.weights)
    for module, parts in one.weights.items():
        for left, right in zip(parts, other.weights[module], strict=True):
            assert torch.equal(left, right)

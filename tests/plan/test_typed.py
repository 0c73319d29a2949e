"""Words as people type them: the line that was meant, or one line that says why not."""

import shlex

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pairedit.plan.synonyms import NAMES, NONE, keys_of, meant, why_not
from pairedit.plan.typed import arrange, place
from pairedit.plan.wording import name_comma
from pairedit.runs.words import double_quoted, line, quoted, shell

MEANT = {
    "train 'steps = 20'": "pairedit-train steps=20",
    "train 'steps =20'": "pairedit-train steps=20",
    "train 'lr = 1e-4'": "pairedit-train learning_rate=1e-4",
    "train 'lora.rank = 8' steps=3": "pairedit-train lora.rank=8 steps=3",
    "train 'method = full'": "pairedit-train method=full",
    "train 'steps 20'": "pairedit-train steps=20",
    "train 'steps: 20'": "pairedit-train steps=20",
    "train 'lr: 1e-4'": "pairedit-train learning_rate=1e-4",
    "train '--steps 20'": "pairedit-train steps=20",
    "train '--steps = 20'": "pairedit-train steps=20",
    "train 'dataset=age steps=20 lr=3'": "pairedit-train dataset=age steps=20 lr=3",
    "gen 'prompts = an old man, smiling'": "pairedit-gen 'prompts=\"an old man, smiling\"'",
    "gen 'scales = [0, 1]'": "pairedit-gen 'scales=[0, 1]'",
    "train --steps 20": "pairedit-train steps=20",
    "train --steps=20 dataset=age": "pairedit-train steps=20 dataset=age",
    "train --learning-rate 1e-4": "pairedit-train learning_rate=1e-4",
    "train --lr=1e-4 -m": "pairedit-train -m learning_rate=1e-4",
    "train steps = 5": "pairedit-train steps=5",
    "train steps =5": "pairedit-train steps=5",
    "train steps= 5": "pairedit-train steps=5",
    "train lr = 5": "pairedit-train learning_rate=5",
    "train steps 5": "pairedit-train steps=5",
    "train --rank 8 --network_dim=4": "pairedit-train lora.rank=8 lora.rank=4",
    "train --preview": "pairedit-train preview=true",
    "gen age.safetensors": "pairedit-gen lora=age.safetensors",
    "gen age.pt --prompt 'an old man, smiling'": "pairedit-gen lora=age.pt "
    "'prompts=\"an old man, smiling\"'",
    "gen --strength 0.5": "pairedit-gen 'scales=[0.5]'",
    "gen --steps 20": "pairedit-gen num_inference_steps=20",
    "eval /x/age.safetensors": "pairedit-eval lora=/x/age.safetensors",
    "export age.safetensors --output x.pt": "pairedit-export lora=age.safetensors out=x.pt",
}


@pytest.mark.parametrize("typed", MEANT)
def test_the_line_that_was_meant_is_named(typed):
    command, *words = shlex.split(typed)
    with pytest.raises(ValueError, match="keys are written key=value") as refused:
        arrange(command, words, get_args_parser())
    line = str(refused.value).split("; write: ")[1]
    assert line == MEANT[typed]
    _, *again = shlex.split(line)
    assert arrange(command, again, get_args_parser()) == again


def test_paths_without_a_key_are_known_by_what_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs/source").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/overrides.yaml").touch()
    (tmp_path / "old.yaml").touch()
    (tmp_path / "face.jpg").touch()
    for command, word, meant_words in (
        ("train", "pairs", "dataset=folder pairs=pairs"),
        ("train", "pairs/source", "dataset=folder pairs=pairs"),
        ("train", "run", "resume=run"),
        ("train", "old.yaml", "old=old.yaml"),
        ("gen", "face.jpg", "edit=real image=face.jpg"),
        ("eval", "run", "sweep=run"),
    ):
        with pytest.raises(ValueError, match="write: ") as refused:
            arrange(command, [word], get_args_parser())
        assert str(refused.value).endswith(f"write: pairedit-{command} {meant_words}")


def test_words_with_blanks_that_hydra_reads_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image of me.png").touch()
    words = ["prompts=an old man", "scales=[0, 1]", "image=image of me.png", "steps= 20"]
    assert arrange("gen", words, get_args_parser()) == words
    with pytest.raises(ValueError, match="write: pairedit-gen edit=real") as refused:
        arrange("gen", ["image of me.png"], get_args_parser())
    assert "image of me.png" in str(refused.value)


def test_options_come_first_wherever_they_are_typed():
    words = ["method=full,fm", "-m", "steps=3", "--config-dir", "mine"]
    assert arrange("train", words, get_args_parser()) == [
        *("-m", "--config-dir", "mine"),
        *("method=full,fm", "steps=3"),
    ]


@pytest.mark.parametrize(
    "word", ["prompts=caf\udce9", "\udcff", "--x=\udcff", "pairs=\udcc3\udca9"]
)
def test_bytes_that_are_no_text_are_refused_in_one_line(word):
    with pytest.raises(ValueError, match=r"not UTF-8 text|PYTHONUTF8=1") as refused:
        arrange("gen", [word], get_args_parser())
    str(refused.value).encode("ascii")


def test_a_folder_holds_for_one_run_and_for_several(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert place(["hydra.run.dir=x"]) == ["hydra.run.dir=x", "hydra.sweep.dir=x"]
    assert place(["hydra.sweep.dir=x"]) == ["hydra.sweep.dir=x", "hydra.run.dir=x"]
    both = ["hydra.run.dir=x", "hydra.sweep.dir=y"]
    assert place(both) == both
    assert place(["hydra.run.dir=~/x"])[0] == f"hydra.run.dir={tmp_path}/home/x"
    assert place(["steps=3"]) == ["steps=3"]


@pytest.mark.parametrize("value", ["", "''", '" "', "null", "[a]", "/", "~", "{file}", "{file}/x"])
@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "+hydra.run.dir"])
def test_no_folder_to_write_into_is_refused(tmp_path, key, value):
    (tmp_path / "a").touch()
    with pytest.raises(ValueError, match=r"hydra\..*expected a folder to write into"):
        place([f"{key}={value.replace('{file}', str(tmp_path / 'a'))}"])


def test_every_synonym_leads_to_a_key_that_is_there():
    for command in ("train", "gen", "eval", "export"):
        for ours, theirs in NAMES.items():
            for name in theirs.split():
                found = meant(name, None, command)
                assert found is None or found in (*keys_of(command), "seeds"), (command, name)
            if ours in keys_of(command) and ours not in ("lora", "sweep"):
                assert any(meant(name, None, command) == ours for name in theirs.split()), ours
    assert all(why_not(theirs.split()[0], only or "gen") for only, theirs, _ in NONE.values())


@pytest.mark.parametrize(
    ("command", "typed", "ours"),
    [
        ("train", "lr=1e-4", "learning_rate=1e-4"),
        ("train", "epochs=3", "steps=3"),
        ("train", "max_train_steps=900", "steps=900"),
        ("train", "width=512", "resolution=512"),
        ("train", "image_dir=/x/source", "dataset=folder pairs=/x"),
        ("train", "base_model=flux-dev", "model=flux-dev"),
        ("train", "output=/tmp/x", "hydra.run.dir=/tmp/x"),
        ("gen", "seed=3", "seeds=3"),
        ("gen", "n=4", "'seeds={start: 0, count: 4}'"),
        ("gen", "prompt=an old man", "'prompts=an old man'"),
        ("gen", "lora_path=x.pt", "lora=x.pt"),
        ("eval", "out=x", "hydra.run.dir=x"),
        ("eval", "batch=4", "batch_size=4"),
        ("export", "output=x.pt", "out=x.pt"),
    ],
)
def test_words_of_other_tools_become_ours_with_their_value(command, typed, ours):
    key, _, value = typed.partition("=")
    assert meant(key, value, command) == ours


@pytest.mark.parametrize(
    ("command", "word", "proposals"),
    [
        ("train", "learning_rate=0,0001", ["learning_rate=0.0001", "-m learning_rate=0,0001"]),
        ("train", "steps=1,000", ["steps=1000"]),
        ("train", "seed=1,2", ["for several runs write pairedit-train -m seed=1,2"]),
        ("train", "dataset=age,smile", ["dataset=[age,smile]"]),
        ("gen", "scales=-1,1", ["scales=[-1,1]"]),
        ("gen", "prompts=an old man, smiling", ["'prompts=\"an old man, smiling\"'"]),
        ("gen", "prompt=an old man, smiling", ["'prompts=\"an old man, smiling\"'"]),
        ("train", "pairs=a, b", ["'pairs=\"a, b\"'"]),
    ],
)
def test_a_comma_gets_what_can_be_pasted(command, word, proposals):
    said = name_comma(word, command)
    assert all(f"{proposal}" in said for proposal in proposals), said
    for proposal in proposals:
        for part in shlex.split(proposal.removeprefix("for several runs write pairedit-train -m ")):
            if part != "-m":
                OverridesParser.create().parse_override(part)


@given(st.text(alphabet="ab\\'\"${},[] =:é\n.5", min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_what_is_quoted_is_read_back(text):
    for quote in (quoted, double_quoted):
        value = OverridesParser.create().parse_override(f"key={quote(text)}").value()
        assert OmegaConf.create({"key": value}).key == text
        word = f"key={quote(text)}"
        assert shlex.split(shell(word)) == [word]


def test_a_list_is_quoted_as_zsh_takes_no_pattern_that_matches_nothing():
    words = ["lora=a.safetensors", "scales=[0,0.63]"]
    assert line("pairedit-gen", words) == "pairedit-gen lora=a.safetensors 'scales=[0,0.63]'"

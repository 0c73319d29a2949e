"""A text whose commas have made a list of it is told, wherever prompts are taken."""

import pytest
from omegaconf import OmegaConf

from pairedit.data.prompts import read_prompts
from pairedit.files import read_yaml
from pairedit.plan.parse import split_prompts
from pairedit.plan.published import expand


@pytest.mark.parametrize(
    "prompts",
    [
        ["an old man", "smiling"],
        ["a photo of an old man", "smiling broadly at the camera"],
        ["an old man", "an angry face"],
        ["portrait of a woman", "4k", "highly detailed"],
        ["a man with grey hair", "a red hat on his head in the rain"],
    ],
)
def test_a_split_text_is_named(prompts, tmp_path):
    (note,) = split_prompts(OmegaConf.create(prompts))
    assert note.startswith(
        f"prompts: these are {len(prompts)} prompts, {' and '.join(prompts)}; for a single"
    )
    assert note.endswith(f"""write 'prompts="{", ".join(prompts)}"'""")
    (tmp_path / "p.yaml").write_text(f"[{', '.join(prompts)}]")
    (note,) = split_prompts(None, str(tmp_path / "p.yaml"))
    assert note.endswith(f"for a single one put it in quotes in {tmp_path / 'p.yaml'}")


@pytest.mark.parametrize(
    "prompts",
    [
        "an old man, smiling",
        ["an old man, smiling"],
        ["an old man, smiling", "a woman"],
        ["a man", "a woman"],
        ["a photo of a man", "a photo of a smiling woman", "a photo of a child"],
    ],
)
def test_prompts_of_one_kind_are_left_in_peace(prompts, tmp_path):
    config = OmegaConf.create({"prompts": prompts}).prompts
    assert split_prompts(config) == []
    (tmp_path / "p.txt").write_text("an old man, smiling\nsmiling\n")
    assert split_prompts(None, str(tmp_path / "p.txt")) == []
    assert split_prompts(None, str(tmp_path / "gone.txt")) == []


@pytest.mark.parametrize(
    ("name", "word", "line"),
    [
        (
            "gen",
            "negative_prompt=[ugly, blurry]",
            """negative_prompt=[ugly, blurry]: expected text; for one text with commas write """
            """'negative_prompt="ugly, blurry"'""",
        ),
        (
            "gen",
            "negative_prompt=ugly, blurry",
            """a text with a comma needs quotes; write 'negative_prompt="ugly, blurry"'""",
        ),
        (
            "train",
            "model.prompt=[an old man, smiling]",
            """one text with commas write 'model.prompt="an old man, smiling"'""",
        ),
        (
            "train",
            "prompts=[an old man, smiling]",
            "prompts: no such key; pairs are learnt without",
        ),
        ("train", "steps=20,", "steps=20,: ends with a comma; write steps=20"),
        ("gen", "scales=[0 0.5 -1]", "expected a number; write scales=[0,0.5,-1]"),
        ("gen", "scales=0 0.5 1", "expected a list, such as [1,2]; write scales=[0,0.5,1]"),
        ("train", "prompt=an old man", "prompt: no such key; pairs are learnt without"),
    ],
)
def test_where_one_text_belongs_the_word_to_paste_is_said(command, name, word, line):
    code, _, err = command(name, word)
    assert code == 1
    assert line in err
    assert err.count("\n") == 1


def test_ends_of_a_text_slider_are_single_texts(command):
    words = ["method=slider_text", "dataset=text", "datasets.text.negative=man"]
    code, _, err = command("train", *words, "datasets.text.positive=[an old man, smiling]")
    assert code == 1
    assert """write 'datasets.text.positive="an old man, smiling"'""" in err


def test_a_tab_in_a_yaml_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("device: 0\nprompt:\n\t- a\n")
    for read in (
        lambda: expand("gen", [f"old={path}"]),
        lambda: read_yaml(path, dict),
        lambda: read_prompts(path),
    ):
        with pytest.raises(ValueError, match="line 3: a tab; YAML takes spaces only") as refused:
            read()
        assert "\n" not in str(refused.value)
    path.write_text("device: [0\nprompt: a\n")
    with pytest.raises(ValueError, match=r"old\.yaml: not a YAML file \(line 2: "):
        expand("gen", [f"old={path}"])

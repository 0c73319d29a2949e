"""Files of prompts: one a line, or a YAML list."""

import pytest

from pairedit.data.prompts import read_prompts

FILES = {
    "lines.txt": ("a man\n# no\n\n  a woman \na # b\n", ["a man", "a woman", "a # b"]),
    "sign.txt": ("\\#1 fan\n", ["#1 fan"]),
    "list.txt": ("# persons\n- male white person\n- male indian person\n", None),
    "list.yaml": ("- male white person\n- 'male indian person'\n", None),
    "words.yaml": ("- yes\n- 1\n- null\n-\n", ["yes", "1", "null"]),
    "lines.yml": ("a man\nan old man, smiling\n", ["a man", "an old man, smiling"]),
    "long.yaml": ("- a man\n  who smiles\n- b # no\n", ["a man who smiles", "b"]),
    "dashes.txt": ("-a\n- b\n", ["-a", "- b"]),
    "bom.yaml": ("\ufeff- a\n", ["a"]),
}


@pytest.mark.parametrize("name", FILES)
def test_prompts_are_read_from_lines_and_lists(tmp_path, name):
    text, prompts = FILES[name]
    (tmp_path / name).write_text(text, encoding="utf-8")
    wanted = prompts or ["male white person", "male indian person"]
    assert read_prompts(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompts:\n- a\n", "expected a YAML list"),
        ("- a: b\n", "{a: b} is no prompt; put one with a colon in quotes"),
        ("- 'open\n", "not a YAML list of prompts"),
        ("[]", "no prompt in it"),
        ("-\n", "no prompt in it"),
    ],
)
def test_what_is_no_prompt_is_named(tmp_path, text, said):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"x\.yaml: ") as refused:
        read_prompts(tmp_path / "x.yaml")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)

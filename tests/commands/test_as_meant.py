"""Words that are refused are judged as what they probably meant, so that all is said at once."""

import re

import pytest

from tiny import write_pairs

FOLDER = "expected one that holds source/ and target/; did you mean my_edit?"


@pytest.fixture
def place(tmp_path, monkeypatch):
    write_pairs(tmp_path / "my_edit")
    for side in ("source", "target"):
        (tmp_path / "empty" / side).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["pair=my_edt", "stepz=0", "lr=abc"],
            [
                "pair: no such key; did you mean pairs? Write dataset=folder pairs=my_edt",
                "stepz: no such key; did you mean steps? Write steps=0",
                "lr: no such key; did you mean learning_rate? Write learning_rate=abc",
                "learning_rate=abc: expected a number",
                f"pairs=my_edt: no such folder; {FOLDER}",
                "steps=0: expected at least 1; with init= also 0, which trains nothing",
            ],
        ),
        (
            ["dataset=my_edit", "stepz=3"],
            [
                "dataset=my_edit: for a folder of pairs write dataset=folder pairs=my_edit",
                "stepz: no such key; did you mean steps? Write steps=3",
            ],
        ),
        (
            ["dataset=foldr", "pairs=my_edt", "cfg_eta=x"],
            [
                "dataset=foldr: did you mean folder?",
                "cfg_eta=x: expected a number",
                f"pairs=my_edt: no such folder; {FOLDER}",
            ],
        ),
        (
            ["dataset=age", "pair=my_edit"],
            [
                "pair: no such key; did you mean pairs? Write dataset=folder pairs=my_edit",
                "pairs=my_edit: has no effect; say dataset=folder instead of dataset=age",
            ],
        ),
    ],
)
def test_all_problems_are_said_at_once(command, place, words, said):
    code, _, err = command("train", *words)
    lines = [line.removeprefix("  - ") for line in err.splitlines()[1:]]
    short = [re.sub(r" no such option; there is [\w, -]*;", "", line) for line in lines]
    assert (code, short) == (1, said)


def test_a_list_inside_keeps_its_head(command, place):
    code, _, err = command("train", "dataset=empty")
    assert code == 1
    assert "\n  - empty: 2 problems with the pairs:\n  - source/: no " in err

"""Files of prompts: what they hold, and those that ship."""

from pathlib import Path

import pytest
from transformers import T5Tokenizer

from pairedit.data import prompts
from pairedit.data.prompts import read_prompts
from pairedit.files import locate
from pairedit.mini.faces import PHRASES, SUBJECT
from pairedit.plan.parse import parse_prompts


def test_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeff# people\r\n\r\n  a person, 30 # years \r\n#x\r\nÉva\r\n".encode())
    assert prompts.read_prompts(path) == ["a person, 30 # years", "Éva"]
    path.write_text("# nothing\n\n")
    with pytest.raises(ValueError, match=r"prompts\.txt: no prompt"):
        prompts.read_prompts(path)
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        prompts.read_prompts(path)
    with pytest.raises(ValueError, match="no such file"):
        prompts.read_prompts(tmp_path / "gone.txt")


def test_shipped_prompts():
    known = {words for entries in PHRASES.values() for _, _, words in entries}
    sets = {path.stem: read_prompts(path) for path in locate("pkg://data/prompts").glob("*.txt")}
    assert set(sets) == {"person", "person_mini"}
    for prompt in sets["person_mini"]:
        subject, *words = prompt.split(", ")
        assert subject == SUBJECT
        assert set(words) <= known
    tokenizer = T5Tokenizer.from_pretrained(locate("pkg://flux_mini") / "tokenizer_2")
    longest = max(len(ids) for ids in tokenizer(sets["person_mini"])["input_ids"])
    assert longest <= 32, "flux-mini would cut a prompt"
    for lines in sets.values():
        assert len(lines) == len(set(lines)) >= 12
    assert parse_prompts(None, "person", "") == sets["person"]
    with pytest.raises(ValueError, match="expected a path, or one of person, person_mini"):
        parse_prompts(None, "persons", "")

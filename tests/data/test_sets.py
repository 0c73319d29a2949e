"""Datasets become examples."""

from pairedit.data.examples import Contrast
from pairedit.data.sets import TextDataset


def test_words_to_preserve_are_shared_by_all_prompts():
    data = TextDataset(
        name="x", target="a", positive="old a", negative="young a", preserve=["red hair", "hat"]
    )
    assert data.read()["x"] == [
        Contrast(target=f"a, {w}", positive=f"old a, {w}", negative=f"young a, {w}")
        for w in ("red hair", "hat")
    ]
    data = TextDataset(name="x", target="a", positive="b", negative="c")
    assert len(data.read()["x"]) == 1

"""What is asked of a training on the page becomes the words of pairedit-train."""

from types import SimpleNamespace

import pytest

from pairedit.studio.asking import METHODS, chosen_of, given_of, shipped, words_of

STUDIO = SimpleNamespace(plan=SimpleNamespace(words=["device=cpu"]))
GRADED, FULL, *_ = METHODS


def test_empty_fields_say_nothing():
    assert given_of(["", None, " ", ""]) == {}
    found = given_of(["40", "0", "", "1e-3"])
    assert found == {"steps": 40, "seed": 0, "learning_rate": 0.001}


@pytest.mark.parametrize("text", ["4.5", "x", "1 2", "${seed}", "40 hydra.run.dir=/"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="is not a whole number"):
        given_of([text, "", "", ""])


def test_the_words_are_those_of_the_command():
    assert "smile" in shipped()
    smile = chosen_of(STUDIO, "smile", None, None)
    words = words_of(STUDIO, smile, FULL, ["40", "", "", ""])
    assert words == ["device=cpu", "method=full", "dataset=smile", "steps=40", "preview_every=25"]
    assert "method=graded" not in words_of(STUDIO, smile, GRADED, [""] * 4)


def test_the_names_of_methods_fit_a_phone():
    assert max(map(len, METHODS)) <= 27, "letters that a choice shows at 390 px"

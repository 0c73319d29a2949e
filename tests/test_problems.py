"""How problems are said: what was probably meant, and by which key."""

import pytest

from pairedit.problems import did_you_mean, given_by, nearest


def test_the_nearest_word_is_proposed_and_nothing_where_none_is_near():
    assert did_you_mean("gradded", ["full", "graded"]) == "; did you mean graded?"
    assert did_you_mean("xyz", ["full", "graded"]) == ""
    assert nearest("SMILE", ["smile", "age"]) == "smile"
    assert nearest("my_Edti", ["My_Edit", "other"]) == "My_Edit", "as it is spelt there"


def test_an_error_about_a_file_names_the_key_that_it_was_given_by(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(ValueError, match=f"^image={path}: torn$"), given_by("image", path):
        raise ValueError(f"{path}: torn")
    with pytest.raises(ValueError, match=r"^all is lost$"), given_by("image", path):
        raise ValueError("all is lost")

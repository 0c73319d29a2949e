"""What was found is said in words that claim no more than what was read."""

from dataclasses import replace

from drawing import pairs_in, slider
from pairedit.measure.findings import found


def test_of_an_edit_that_no_reader_knows_nothing_is_guessed(tmp_path):
    pairs = pairs_in(tmp_path)
    result = slider(pairs, attribute="none")
    assert (result.seen.attribute, result.verdict.name) == (None, "works")
    does, besides = found([result])
    assert does.startswith("It changes the pictures in the direction of its pairs from scale 0.05")
    assert "as the pictures themselves tell. Scale 0.5 is worth one pair" in does
    assert "people stay who they are" not in does
    assert besides == (
        "What else moves is not known (attribute=none: no reader knows the edit). The way to "
        "another person is measured by the pixels alone."
    )
    assert set(result.missing.values()) >= {"attribute=none: no reader knows the edit"}
    assert "reader=probe was not asked for" not in result.missing.values()
    guessed = " ".join(found([slider(pairs, attribute=None)]))
    assert "age is a guess" in guessed
    assert "if the probe does not know the edit, say attribute=none." in guessed
    elsewhere = replace(result, verdict=replace(result.verdict, name="unlike"))
    assert found([elsewhere])[0] == (
        "It changes something, but the pictures do not change where those of the pairs do."
    )

"""pairs.png shows what the model sees of each pair."""

import numpy as np
import pytest
from PIL import Image

from pairedit.data.examples import find_pairs
from pairedit.pictures import pairs as sheets
from pairedit.pictures.cells import amplification


@pytest.fixture
def faint(tmp_path):
    """Give 14 pairs of which the target is 9 levels lighter in the left half."""
    for index in range(14):
        for side, lighter in (("source", 0), ("target", 9)):
            (tmp_path / side).mkdir(exist_ok=True)
            image = Image.new("RGB", (64, 64), (100 + index,) * 3)
            image.paste((100 + index + lighter,) * 3, (0, 0, 32, 64))
            image.save(tmp_path / side / f"{index:02d}.png")
    return find_pairs(tmp_path)


def test_both_sides_and_their_amplified_difference(faint, monkeypatch):
    seen = {}

    def sheet(rows, labels, heads, title):
        seen.update(rows=rows, labels=labels, heads=heads, title=title)
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(sheets, "contact_sheet", sheet)
    sheets.draw_pairs(faint, (32, 32), title="lighter")
    assert seen["heads"] == ["source", "target", "difference x 16"]
    assert seen["title"] == "lighter: the first 12 of 14 pairs, 2 left out, 32 x 32 px"
    assert seen["labels"] == [f"{index:02d}" for index in range(12)]
    source, target, difference = (np.asarray(image) for image in seen["rows"][3])
    assert source.shape == (64, 64, 3)  # of small models twice as large
    assert (source[0, 0], target[0, 0], difference[0, 0]) == (
        pytest.approx(103),
        pytest.approx(112),
        pytest.approx(144),
    )
    assert not difference[:, 40:].any()


def test_a_strong_difference_is_not_clipped():
    image = Image.new("RGB", (16, 16), (70, 0, 0))
    assert amplification([image]) == 2
    assert amplification([Image.new("RGB", (16, 16), (200, 0, 0))]) == 1

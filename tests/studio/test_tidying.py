"""What the page keeps does not grow without end, and never at the cost of a training."""

import os

import pytest

from pairedit.studio.tidying import keep_newest, tidy


@pytest.fixture
def own(tmp_path):
    """Rows of 100 bytes each, the oldest first; row 0 is the longest unused."""
    for number in range(4):
        row(tmp_path / "studio" / "rows" / f"row{number}", number)
    return tmp_path / "studio"


def row(place, time):
    (place / "images").mkdir(parents=True)
    (place / "images" / "x.png").write_bytes(b"x" * 100)
    os.utime(place, (time + 1, time + 1))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_longest_unused_goes_and_it_is_said(own):
    (said,) = tidy(own, limits={"rows": 250, "photos": 250})
    assert names(own / "rows") == ["row2", "row3"]
    assert "removed 2" in said


def test_what_has_been_looked_at_stays(own):
    os.utime(own / "rows" / "row0")
    list(tidy(own, limits={"rows": 250}))
    assert names(own / "rows") == ["row0", "row3"]


def test_the_newest_stays_however_large_it_is(own):
    assert keep_newest(own / "rows", 1) == (3, 300)
    assert names(own / "rows") == ["row3"]


def test_pairs_that_a_training_names_stay(own):
    os.rename(own / "rows", own / "pairs")
    list(tidy(own, ["[dataset=folder, pairs=outputs/studio/pairs/row0]"], {"pairs": 250}))
    assert names(own / "pairs") == ["row0", "row2", "row3"]


def test_a_link_goes_alone(own, tmp_path):
    row(tmp_path / "precious", 0)
    (own / "rows" / "link").symlink_to(tmp_path / "precious")
    os.utime(own / "rows" / "link", (0, 0), follow_symlinks=False)
    keep_newest(own / "rows", 150)
    assert (tmp_path / "precious" / "images" / "x.png").is_file()
    assert names(own / "rows") == ["row3"]


def test_a_folder_that_is_not_there_is_tidy(tmp_path):
    assert list(tidy(tmp_path / "nothing")) == []

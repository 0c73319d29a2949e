"""What people drop: matched, kept under names of ours, never outside of the uploads."""

import logging

import pytest

from pairedit.studio.uploads import Heard, take_pairs
from tiny import write_pairs


@pytest.fixture
def uploads(tmp_path):
    return tmp_path / "uploads"


@pytest.fixture
def drop(uploads, tmp_path):
    """Put pictures among the uploads, as a browser would; take them as pairs."""
    made = write_pairs(tmp_path / "made")
    sides = {side: sorted((made / side).glob("*.png")) for side in ("source", "target")}

    def take(befores, afters):
        names = []
        for side, asked in zip(sides, (befores, afters), strict=True):
            names.append([])
            for path, name in zip(sides[side], asked, strict=False):
                place = uploads / f"{len(list(uploads.glob('*')))}" / name
                place.parent.mkdir(parents=True)
                place.write_bytes(path.read_bytes())
                names[-1].append(str(place))
        return take_pairs(*names, uploads, tmp_path / "pairs")

    return take


def test_pairs_match_by_name_and_are_kept_under_ours(drop):
    found = drop(["b.png", "a.png"], ["a.PNG", "b.jpeg"])
    assert not found.by_order
    assert found.names["source/01.png"] == "a.png (before)"
    assert found.names["target/02.png"] == "b.jpeg (after)"
    assert found.worded(f"{found.folder}: source/01.png is bad") == "a.png (before) is bad"


def test_words_such_as_before_are_no_part_of_a_name(drop):
    assert not drop(["me_before.png"], ["me_after.png"]).by_order
    assert drop(["one.png"], ["two.png"]).by_order


def test_what_has_no_partner_is_named(drop):
    with pytest.raises(ValueError, match=r"b\.png has no picture of that name after"):
        drop(["a.png", "b.png"], ["a.png"])


def test_nothing_is_taken_from_elsewhere(drop, uploads, tmp_path):
    uploads.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (uploads / "link.png").symlink_to(tmp_path / "secret.png")
    for name in (tmp_path / "secret.png", uploads / "../secret.png", uploads / "link.png"):
        with pytest.raises(ValueError, match="drop it again"):
            take_pairs([str(name)], [str(name)], uploads, tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


def test_a_side_without_pictures_is_said(uploads, tmp_path):
    with pytest.raises(ValueError, match="at least one picture before"):
        take_pairs([], [], uploads, tmp_path)


def test_doubts_about_pairs_are_heard():
    with Heard() as heard:
        logging.getLogger("pairedit.data.examples").warning("blurred")
        logging.getLogger("pairedit.data.examples").info("found")
    assert heard.lines == ["blurred"]

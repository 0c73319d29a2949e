"""Files are replaced whole or not at all."""

import json
import math
from contextlib import ExitStack
from pathlib import Path

import pytest

from pairedit import files
from pairedit.files import near_path, remove_temporaries, replacing


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with files.replacing(path) as temporary:
        temporary.write_text("one")
        assert (temporary.suffix, temporary.parent) == (".txt", path.parent)
        assert not path.exists()
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o600 == 0o600
    with pytest.raises(KeyError), files.replacing(path) as temporary:
        {}[temporary.write_text("two")]
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]
    # Who has the old file open keeps reading it whole.
    with path.open() as old:
        with files.replacing(path) as temporary:
            temporary.write_text("three")
        assert (old.read(), path.read_text()) == ("one", "three")


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    kept = tmp_path / "disc/.hidden.png"
    kept.parent.mkdir()
    kept.touch()
    with ExitStack() as killed:
        for path in (tmp_path / "a.png", tmp_path / "disc/b"):
            killed.enter_context(replacing(path)).touch()
        left = {path: path.stat() for path in tmp_path.rglob(".*") if path != kept}
        killed.pop_all()  # never comes back, as after SIGKILL
    assert len(left) == 2
    for path in left:
        path.touch()
    remove_temporaries(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [kept]


def test_the_file_behind_a_link_is_written_and_keeps_its_mode(tmp_path: Path) -> None:
    behind, link = tmp_path / "behind" / "a.txt", tmp_path / "link.txt"
    behind.parent.mkdir()
    behind.write_text("one")
    behind.chmod(0o640)
    link.symlink_to(Path("behind/a.txt"))
    with replacing(link) as temporary:
        temporary.write_text("two")
    assert link.is_symlink()
    assert (behind.read_text(), behind.stat().st_mode & 0o777) == ("two", 0o640)
    assert [path.name for path in behind.parent.iterdir()] == ["a.txt"]
    # A link to nowhere makes the file that it names.
    link.unlink()
    link.symlink_to(behind.with_name("b.txt"))
    with replacing(link) as temporary:
        temporary.write_text("three")
    assert behind.with_name("b.txt").read_text() == "three"


def test_a_missing_path_is_told_with_the_one_that_is_near(tmp_path):
    slider = tmp_path / "outputs/first/age/semantic.safetensors"
    slider.parent.mkdir(parents=True)
    slider.touch()
    assert near_path(slider.with_name("semantic.safetensor")) == f"; did you mean {slider}?"
    assert near_path(tmp_path / "outputs/frist/age") == f"; did you mean {slider.parent}?"
    assert near_path(tmp_path / "outputs/frist/smile") == "", "nothing of that name lies there"
    assert near_path(tmp_path / "elsewhere") == ""
    assert near_path(tmp_path / "outptus/frist/semantic") == "", "nothing of that name lies there"
    for typed in ("outptus/frist/agee/semantc.safetensors", "outputs/first/age/semantc"):
        assert near_path(tmp_path / typed) == f"; did you mean {slider}?", "each part, or no suffix"
    # A run has a folder for each dataset.
    assert near_path(tmp_path / "outputs/first/semantic.safetensors").endswith(f"{slider}?")


def test_json_of_ours_holds_no_number_that_json_does_not_have():
    content = {"a": math.nan, "b": [1.5, -math.inf, (math.nan, "NaN")], "c": {"d": True, "e": None}}
    text = files.json_text(content, indent=1)
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == {"a": None, "b": [1.5, None, [None, "NaN"]], "c": {"d": True, "e": None}}

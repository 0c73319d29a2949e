"""Pairs that are read again are not compared again, unless their pixels have changed."""

from pairedit.data import matching
from pairedit.data.examples import find_pairs
from tiny import noise, write_pairs


def test_the_same_pixels_are_compared_once(tmp_path, monkeypatch, caplog):
    compared, compare = [], matching.compare
    monkeypatch.setattr(matching, "compare", lambda *both: compared.append(both) or compare(*both))
    monkeypatch.setattr(matching, "_compared", {})
    folder = write_pairs(tmp_path / "discs")
    noise(1).resize((16, 16)).save(folder / "target/p0.png")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("WARNING"):
            find_pairs(folder)
        assert "2.0 times as large" in caplog.text, "what was doubtful is said each time"
    assert len(compared) == 2
    noise(2).save(folder / "target/p0.png")
    find_pairs(folder)
    assert len(compared) == 3

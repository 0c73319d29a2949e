"""A training that is looked at ends as one that is not, byte for byte."""

import pytest

from pairedit.data.images import read_image
from tiny import write_pairs


@pytest.fixture
def shown(monkeypatch):
    """Let every row be rendered, however long it takes beside so short a training."""
    monkeypatch.setattr("pairedit.runs.looking.SHARE", 1e9)


@pytest.mark.parametrize("more", [(), ("gradient_checkpointing=true",)], ids=["plain", "again"])
def test_previews_change_no_byte(train_disc, shown, tmp_path, more):
    words = ("steps=4", "save_every=2", "preview=false", "report=false", *more)
    assert train_disc(tmp_path / "a", *words)[0] == 0
    code, out, err = train_disc(tmp_path / "b", *words, "preview_every=2")
    assert (code, err) == (0, "")
    assert "disc: previews: 2 rows, one every 2 steps. A row takes about as long as" in out
    found = sorted(path.name for path in (tmp_path / "b/disc/previews").iterdir())
    assert found == ["000002.png", "000004.png"]
    sheet = read_image(tmp_path / "b/disc/previews/000004.png")
    assert sheet.width > 4 * 32
    for name in ("semantic.safetensors", "content.safetensors", "loss.png"):
        left, right = (tmp_path / run / "disc" / name for run in "ab")
        assert left.read_bytes() == right.read_bytes(), name
    assert not (tmp_path / "a/disc/previews").exists()
    left, right = ((tmp_path / run / "config.yaml").read_text() for run in "ab")
    assert left == right


def test_a_row_shows_what_the_final_file_renders(command, train_disc, shown, tmp_path):
    words = ("steps=2", "lora.alpha=3", "learning_rate=0.05", "preview=false", "report=false")
    assert train_disc(tmp_path / "a", *words, "preview_every=2")[0] == 0
    lora = tmp_path / "a/disc/semantic.safetensors"
    words = (f"lora={lora}", "seeds=0", "skip=auto", f"hydra.run.dir={tmp_path / 'b'}")
    assert command("gen", *words)[0] == 0
    row, sheet = (
        read_image(path)
        for path in (tmp_path / "a/disc/previews/000002.png", tmp_path / "b/sheet.png")
    )
    # Titles differ, and with them the widths; the pictures stand at the lower left.
    width = min(row.width, sheet.width)
    left, right = (
        image.crop((0, image.height - 56, width, image.height - 24)) for image in (row, sheet)
    )
    assert left.tobytes() == right.tobytes()


def test_a_file_asks_for_a_row_and_a_content_lora_has_rows_too(command, shown, tmp_path):
    photos = write_pairs(tmp_path / "pairs", count=1) / "source"
    run = tmp_path / "run"
    run.mkdir()
    (run / "preview").touch()
    words = ("method=inversion", "dataset=images", f"images={photos}", "steps=3", "lora.rank=2")
    words += ("preview=false", "report=false", "preview_every=2")
    code, _, err = command("train", *words, f"hydra.run.dir={run}")
    assert (code, err) == (0, "")
    found = sorted(path.name for path in (run / "p0/previews").iterdir())
    assert found == ["000001.png", "000002.png"]
    assert not (run / "preview").exists()


def test_a_wrong_number_is_refused(train_disc, tmp_path):
    code, _, err = train_disc(tmp_path / "a", "preview_every=-1")
    assert code == 1
    assert "preview_every=-1: expected a number of steps" in err

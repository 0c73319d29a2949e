"""Animations and PNG files: what is written is what is read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairedit.pictures import png as sheets
from tiny import noise


@pytest.mark.parametrize("count", [2, 3, 5])
def test_an_animation_runs_there_and_back(tmp_path: Path, count: int) -> None:
    images = [noise(seed) for seed in range(count)]
    sheets.animate(images, tmp_path / "new" / "a.webp", ms=50)
    order = [*range(count), *range(count - 2, 0, -1)]
    with Image.open(tmp_path / "new" / "a.webp") as film:
        assert film.n_frames == len(order)
        assert film.info["loop"] == 0
        for frame, index in enumerate(order):
            film.seek(frame)
            np.testing.assert_array_equal(film.convert("RGB"), images[index])  # lossless
            assert film.info["duration"] == (200 if index in (0, count - 1) else 50)


def test_a_large_animation_stays_close(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    first = Image.fromarray(np.stack([np.tile(ramp, (1024, 1))] * 3, axis=-1))
    images = [first, first.rotate(90), first.rotate(180)]
    sheets.animate(images, tmp_path / "a.webp")
    with Image.open(tmp_path / "a.webp") as film:
        film.seek(1)
        difference = np.asarray(film.convert("RGB"), float) - np.asarray(images[1], float)
    assert 0 < np.abs(difference).mean() < 1.5


def test_animations_refuse_one_image_or_two_sizes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least two images, got 1"):
        sheets.animate([noise(0)], tmp_path / "a.webp")
    with pytest.raises(ValueError, match=r"differ in size: \[\(16, 16\), \(32, 32\)\]"):
        sheets.animate([noise(0), noise(1, 16)], tmp_path / "a.webp")
    assert not list(tmp_path.iterdir())


def test_metadata_round_trip(tmp_path: Path) -> None:
    metadata = {
        "pairedit": '{"seed": 3, "scale": -0.4}',
        "prompt": "Éva − 日本\nsecond line \U0001f642",
        "empty": "",
        "long": "x" * 100_000,
    }
    sheets.save_png(noise(1), tmp_path / "new" / "a.png", metadata)
    assert sheets.read_metadata(tmp_path / "new" / "a.png") == metadata
    with Image.open(tmp_path / "new" / "a.png") as image:
        np.testing.assert_array_equal(image, noise(1))
    sheets.save_png(noise(2), tmp_path / "new" / "a.png", {})
    assert sheets.read_metadata(tmp_path / "new" / "a.png") == {}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    sheets.save_png(noise(1), path, {"seed": "1"})
    for name in ("", "x" * 80, " x", "日"):
        with pytest.raises(ValueError, match="PNG metadata cannot be named"):
            sheets.save_png(noise(2), path, {name: "2"})
    with pytest.raises(OSError, match="HSV"):
        sheets.save_png(noise(2).convert("HSV"), path, {})
    assert sheets.read_metadata(path) == {"seed": "1"}
    assert list(tmp_path.iterdir()) == [path]


def test_metadata_of_a_damaged_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(ValueError, match=r"a\.png: not a readable PNG"):
        sheets.read_metadata(path)
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"a\.png: not a readable PNG"):
        sheets.read_metadata(path)
    sheets.save_png(noise(1), path, {"seed": "1"})
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match=r"a\.png: not a readable PNG"):
        sheets.read_metadata(path)

"""The row that ships: taken where just that is asked for, and what pairedit renders today."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairedit.files import locate
from pairedit.plan.again import expand_again
from pairedit.studio.rows import Asked, Rows, slider_at
from pairedit.studio.shipped import NOTES, ROWS, SLIDERS

SCRIPTS = Path(__file__).parents[2] / "scripts"
PARTS = {"model": "flux-mini", "hardware": "auto"}


def first():
    path = locate(f"{SLIDERS}/age.safetensors")
    return Asked(sliders=(slider_at(path, "age"),)).first


def rows_in(folder, parts=PARTS, **keys):
    return Rows(folder / "rows", None, parts, keys)


@pytest.mark.parametrize("keys", [{}, {"device": "cpu"}])
def test_nobody_waits_for_the_first_row(tmp_path, keys):
    rows = rows_in(tmp_path, **keys)
    assert all(rows.is_there(stage) for stage in first().stages)
    places = [rows.place(stage) for stage in first().stages]
    pictures = rows.pictures(places)
    assert [picture.at for picture in pictures] == [(at,) for at in first().positions]
    assert all("of its range" in picture.note for picture in pictures)
    assert rows.have_shipped(places)


def test_a_picture_of_it_says_how_it_is_rendered_again(tmp_path):
    rows = rows_in(tmp_path)
    rows.is_there(first().stages[0])
    path = rows.pictures([rows.place(first().stages[0])])[1].path
    notes = []
    words = expand_again([f"again={path}"], notes)
    assert f"{locate(SLIDERS).resolve()}/age.safetensors" in str(words)
    assert notes == []


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"prompt": "a man"}, {"local": "true"}, {"positions": (0.0, 0.25)}],
    ids=str,
)
def test_whatever_else_is_asked_for_is_rendered(tmp_path, other):
    assert not rows_in(tmp_path).is_there(replace(first().stages[0], **other))


def test_another_slider_model_or_precision_has_no_row(tmp_path):
    early = first().stages[0]
    assert not rows_in(tmp_path, {**PARTS, "model": "flux-dev"}).is_there(early)
    assert not rows_in(tmp_path, precision="bfloat16").is_there(early)
    copied = tmp_path / "age.safetensors"
    copied.write_bytes(early.sliders[0].path.read_bytes())
    assert not rows_in(tmp_path).is_there(replace(early, sliders=(slider_at(copied, "age"),)))


@pytest.mark.heavy
def test_it_is_what_is_rendered_today(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import_module("shipped_rows").render(tmp_path / "work", tmp_path / "rows")
    made = sorted((tmp_path / "rows").rglob("*.png"))
    assert len(made) == len(list(locate(ROWS).rglob("*.png"))) == 8
    for path in made:
        there = locate(ROWS) / path.relative_to(tmp_path / "rows")
        with Image.open(path) as new, Image.open(there) as old:
            # Rounding differs from machine to machine.
            assert np.abs(np.asarray(new, int) - np.asarray(old, int)).max() <= 1, path.name
            assert new.text.keys() == old.text.keys()
    for path in (tmp_path / "rows").rglob(NOTES):
        new, old = (
            json.loads(each.read_text())
            for each in (path, locate(ROWS) / path.relative_to(tmp_path / "rows"))
        )
        assert new["asked"] == old["asked"]
        for name, values in new["measures"].items():
            assert values == pytest.approx(old["measures"][name], abs=0.01), name

"""Rows: what is asked of pairedit-gen, where it is kept, which pictures are shown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pairedit.files import locate
from pairedit.lora.file import annotate_lora
from pairedit.plan.options import composed
from pairedit.studio.markup import row
from pairedit.studio.rows import Asked, Rows, Slider, finer, positions_of, slider_at


class Hand:
    """Stand for the worker: writes pictures by the scales that it is asked for."""

    def __init__(self):
        self.asked = []

    def do(self, job, *, parts, keys, folder, of):
        self.asked.append((job, parts, keys, of))
        images = Path(folder) / "images"
        images.mkdir(parents=True)
        for scale in keys["scales"]:
            (images / f"prompt00_seed000000_scale{scale:+g}.png").write_bytes(b"")
        notes = {"scales": keys["scales"], "attribute": "age"}
        notes["measures"] = {"target": [s / 2 for s in keys["scales"]], "identity": 1}
        (Path(folder) / "notes.json").write_text(json.dumps(notes))


@pytest.fixture
def slider(tmp_path):
    path = tmp_path / "a b.safetensors"
    path.write_bytes(b"x")
    return Slider(path=path, label="age", unit=0.6, strength=0.6)


@pytest.fixture
def rows(tmp_path):
    return Rows(tmp_path / "rows", Hand(), {"model": "flux-mini"}, {"device": "cpu"})


def test_a_row_is_rendered_once(rows, slider):
    asked = Asked(sliders=(slider,), seed=3).first
    place = rows.render(asked)
    assert rows.render(asked) == place
    ((job, parts, keys, of),) = rows._hand.asked
    assert (job, parts) == ("row", {"model": "flux-mini", "edit": "text"})
    assert keys["calibrated"] is True
    assert (keys["seeds"], keys["device"]) == ([3], "cpu")
    assert of["lora"] == str(slider.path)
    assert [p.at[0] for p in rows.pictures([place])] == list(asked.positions)
    assert rows.pictures([place])[0].note == "age: -0.50 of its range"


def test_what_can_be_dragged_is_rendered_first(slider):
    asked = Asked(sliders=(slider,)).first
    early, late = asked.stages
    assert early.positions == (0.0, 1.0)
    assert late.positions == (-1.0, -0.5, 0.0, 0.5, 1.5, 2.0)  # measured against the original
    assert {*early.positions, *late.positions} == {*asked.positions}
    raw = Asked(sliders=(replace(slider, unit=None, strength=0.4),)).first
    assert raw.stages[0].positions == (0.0, 0.4)
    # Two positions of each slider cross to four; the whole pad has these again.
    pad = Asked(sliders=(slider, slider)).first
    assert [len(stage.positions) for stage in pad.stages] == [2, 5]
    photo = Asked(sliders=(slider,), photo=Path("x.png")).first
    assert photo.stages[0].positions == (0.0,)
    assert photo.stages[1] == photo


def test_another_file_of_the_same_name_is_another_row(rows, slider):
    asked = Asked(sliders=(slider,)).first
    before = rows.place(asked)
    slider.path.write_bytes(b"longer")
    assert rows.place(asked) != before


def test_finer_pictures_stand_beside_those_that_are_there(rows, slider):
    asked = Asked(sliders=(slider,)).first
    first = rows.render(asked)
    positions = finer(asked.positions, 0.9)
    assert positions == (0.0, 0.625, 0.75, 0.875, 1.125, 1.25, 1.375)
    second = rows.render(replace(asked, positions=positions))
    shown = [p.at[0] for p in rows.pictures([first, second])]
    assert shown == sorted({*asked.positions, *positions})


def test_nothing_is_finer_than_all():
    assert finer([], 1) == ()
    assert finer([0.0], 0.0) == ()
    assert finer([0.0, 1.0], 5) == (0.0, 0.25, 0.5, 0.75)


def test_a_slider_that_nobody_measured_begins_at_the_guess_of_its_file(lora):
    for shown, start, positions in (
        ([-0.2, 0.0, 0.2, 0.4, 0.6], 0.4, (-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8)),
        ([-0.5, 0.0, 0.5, 1.0, 1.5], 1.0, (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)),
        ([0.5, 0.0, 0.5, 0.0, 0.5], 0.4, (-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8)),  # from anybody
    ):
        annotate_lora(lora.path, shown=shown)
        asked = Asked(sliders=(slider_at(lora.path, "x"),)).first
        assert (asked.calibrated, asked.start, asked.positions) == (False, start, positions)
    assert "was not calibrated, so it begins at a guess" in row("play", asked, [])


def test_two_sliders_have_scales_unless_both_are_measured(rows, slider):
    raw = Slider(path=slider.path, label="x", unit=None, strength=0.4)
    asked = Asked(sliders=(slider, raw)).first
    assert not asked.calibrated
    assert asked.positions == (-0.3, 0.0, 0.3, 0.6, 0.9)
    keys = rows._gen(asked)
    assert keys["grid"] is True
    assert "calibrated" not in keys
    assert rows._of(asked) is None


def test_the_command_renders_the_same(rows, slider):
    asked = Asked(sliders=(slider,), seed=3, prompt="an old man", local="true").first
    command = rows.command(asked, ["model=flux-mini"])
    assert command.startswith("pairedit-gen model=flux-mini 'lora=")
    for word in ("calibrated=true", "local=true", "seeds=[3]", "an old man"):
        assert word in command


@pytest.mark.parametrize("text", ["${oc.env:HOME}", r"a \${model.path}", r"\\${seeds}", "$ {x}"])
def test_a_prompt_looks_nothing_up(rows, slider, text):
    rows.render(Asked(sliders=(slider,), prompt=text).first)
    sent = rows._hand.asked[0][2]["prompts"]
    assert list(composed("gen", {}, {"prompts": sent}).prompts) == [text]


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("prompt00_seed000003_scale+0.5.png", (0.5,)),
        ("prompt00_seed000003_scale-1_+0.25.png", (-1.0, 0.25)),
        ("prompt00_image-x_scale+0.png", (0.0,)),
        ("prompt00_scale-0.png", (0.0,)),
        ("prompt00_seed000003_scalebase.png", None),
        ("sheet.png", None),
    ],
)
def test_names_of_pictures_are_read(name, at):
    assert positions_of(name) == at


@pytest.mark.parametrize("name", ["age", "glasses"])
def test_the_sliders_that_ship_are_calibrated_and_small(name):
    path = locate(f"pkg://data/sliders/{name}.safetensors")
    assert slider_at(path, name).unit > 0.3
    assert path.stat().st_size < 400_000

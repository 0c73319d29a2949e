"""A guess names an edit and decides nothing: the pictures tell what happens."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import ImageDraw

from pairedit.data.images import load_image, to_image, to_tensor
from pairedit.measure import evidence
from pairedit.measure.effect import effect
from pairedit.measure.evidence import PICTURE, Reading, collect, stands_out
from pairedit.measure.findings import found
from pairedit.measure.readers import SIDE, Instrument
from pairedit.measure.verdict import judge
from pairedit.mini.attributes import ATTRIBUTES, INDEX
from pairedit.mini.probe import SIZE
from seen import PROBE, faces, probed

DATA = Path(__file__).parents[2] / "data"
SHIPPED = sorted(path.parent.name for path in DATA.glob("*/target"))


def read(before: torch.Tensor, after: torch.Tensor) -> Reading:
    sides = (PROBE.read(side, side) for side in (before, after))
    before, after = sides
    return Reading(instrument=PROBE, lanes=before[:, None], before=before, after=after)


def painted(people: torch.Tensor, *boxes, fill=(225, 25, 25)) -> torch.Tensor:
    """Paint discs on people: what no probe knows."""
    images = [to_image(face) for face in people]
    for image in images:
        for box in boxes:
            ImageDraw.Draw(image).ellipse([part * image.width for part in box], fill=fill)
    return torch.stack([to_tensor(image) for image in images])


NOSE = (0.43, 0.48, 0.57, 0.62)


@pytest.mark.parametrize("edit", SHIPPED)
def test_each_shipped_edit_is_guessed_right(edit, monkeypatch):
    monkeypatch.setattr(evidence, "STANDS_OUT", 0.5)  # as the comment there says
    sides = [
        torch.stack([to_tensor(load_image(p, (SIZE, SIZE))) for p in sorted(folder.glob("*"))])
        for folder in (DATA / edit / "source", DATA / edit / "target")
    ]
    assert stands_out(read(*sides)) == {"one": "smile"}.get(edit, edit)


@pytest.mark.parametrize(
    "boxes",
    [
        [NOSE],
        [(0.33, 0.38, 0.48, 0.52)],
        [(0.3, 0.56, 0.42, 0.66), (0.58, 0.56, 0.7, 0.66)],
        [(0.2, -0.1, 0.8, 0.25)],
        [(0.2, 0.85, 0.8, 1.1)],
    ],
    ids=["nose", "patch", "cheeks", "hat", "scarf"],
)
def test_what_no_probe_knows_is_not_taken_for_another_edit(boxes, monkeypatch):
    monkeypatch.setattr(evidence, "STANDS_OUT", 0.3)  # as the comment there says
    people = faces("smile", 0.2, 3, seed=5)
    assert stands_out(read(people, painted(people, *boxes))) is None


def told(moved: list[float], shown=1.0, **more):
    """Return a slider whose probe says the reverse while its pictures move by so much."""
    way = torch.zeros(3 * SIDE * SIDE)
    way[:40] = shown
    coarse = Reading(
        instrument=Instrument(read=lambda images, references: images.flatten(1)),
        lanes=torch.tensor(moved)[None, :, None] * way.expand(4, 1, -1),
        before=torch.zeros(3, len(way)),
        after=way.expand(3, -1),
    )
    seen = probed({"nose_width": [0.0, -0.1, -0.2]}, attribute="nose_width", **more)
    return replace(seen, readings={**seen.readings, PICTURE: coarse})


def test_the_word_of_a_guessed_attribute_never_reverses_a_slider():
    assert judge(told([0.0, 0.4, 0.8])).name == "reversed", "somebody named it"
    seen = told([0.0, 0.4, 0.8], guessed=True)
    assert effect(seen)[0].tolist() == pytest.approx([0, 0.4, 0.8])
    assert judge(seen).told == "weak (by the pictures alone; nobody named the edit)"
    assert "swap" not in judge(seen).advise()
    assert judge(told([0.0, 0.1, 0.2], guessed=True)).name == "weak"
    whole = judge(told([0.0, 0.6, 1.2], guessed=True))
    assert (whole.name, whole.advise()) == ("works", "")


def test_pictures_that_go_back_are_reversed_and_others_off_target():
    back = told([0.0, -0.4, -0.8], guessed=True)
    assert judge(back).name == "reversed"
    coarse = back.readings[PICTURE]
    elsewhere = coarse.lanes.clone()
    elsewhere[..., 60:200] = elsewhere[..., [0]] * 3
    moved = {**back.readings, PICTURE: replace(coarse, lanes=elsewhere)}
    assert judge(replace(back, readings=moved)).name == "off target", "it changes another place"


def test_a_red_nose_that_appears_works_though_no_probe_knows_it():
    people, pairs = faces("smile", 0.2, 4), faces("smile", 0.2, 3, seed=5)
    seen = collect(
        torch.stack([people, people.lerp(painted(people, NOSE), 0.5), painted(people, NOSE)], 1),
        scales=(0.0, 0.5, 1.0),
        before=pairs,
        after=painted(pairs, NOSE),
        readers={"probe": PROBE},
    )
    assert (seen.attribute, seen.guessed, seen.unread) == (None, True, True)
    assert judge(seen).told == "works (by the pictures alone; nobody named the edit)"


def test_what_nobody_named_and_nothing_stands_out_of_is_said(tmp_path):
    from drawing import pairs_in, slider

    result = slider(pairs_in(tmp_path), attribute="none")
    result = replace(result, seen=replace(result.seen, guessed=True))
    does, besides, doubt = found([result])
    assert "as the pictures themselves tell" in does
    assert besides == (
        "What else moves is not known (no attribute stands out in the pairs). The way to another "
        "person is measured by the pixels alone."
    )
    assert doubt.startswith("Nobody named what the pairs change, and no attribute stands out in")
    assert "attribute=NAME" in doubt


def test_a_change_of_everything_at_once_is_no_attribute():
    before = torch.full((3, len(ATTRIBUTES)), 0.2)
    one, all_of_it = before.clone(), before + 0.1
    one[:, INDEX["age"]] += 0.5
    all_of_it[:, INDEX["age"]] += 0.4
    lanes = before[:, None]
    parts = {"instrument": PROBE, "lanes": lanes, "before": before}
    assert stands_out(Reading(**parts, after=one)) == "age"
    assert stands_out(Reading(**parts, after=all_of_it)) is None
    assert (
        stands_out(Reading(instrument=PROBE, lanes=lanes, before=before[:0], after=one[:0])) is None
    )

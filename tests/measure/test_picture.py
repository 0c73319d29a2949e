"""The pictures themselves say whether a slider does what its pairs show."""

from dataclasses import replace

import pytest
import torch
from PIL import ImageDraw

from pairedit.data.images import to_image, to_tensor
from pairedit.measure.effect import effect
from pairedit.measure.evidence import PICTURE, Evidence, collect
from pairedit.measure.picture import direction, place
from pairedit.measure.verdict import judge
from seen import AFTER, BEFORE, PROBE, SCALES, faces, mean, rendered

# A part that appears, one that grows, and the whole; the others are of these kinds.
EDITS = ("glasses", "hair_length", "tilt")
OTHERS = ("smile", "age", "mouth_open", "eye_size", "beard", "nose_width")


def with_hat(faces: torch.Tensor) -> torch.Tensor:
    """Put a red hat on people, which is nothing that the probe knows."""
    images = [to_image(face) for face in faces]
    for image in images:
        side, draw = image.width, ImageDraw.Draw(image)
        for left, top, right, bottom in ((0.28, 0.02, 0.72, 0.2), (0.16, 0.18, 0.84, 0.25)):
            box = (left * side, top * side, right * side, bottom * side)
            draw.rectangle(box, fill=(200, 20, 30))
    return torch.stack([to_tensor(image) for image in images])


def hat(slider: str, **options) -> Evidence:
    """Return what is seen of a slider that sets an attribute, with pairs that put on a red hat."""
    bare = faces("smile", BEFORE, 3, seed=5)
    return collect(
        torch.stack([faces(slider, BEFORE + 1.6 * scale, 6) for scale in SCALES], dim=1),
        scales=SCALES,
        before=bare,
        after=with_hat(bare),
        readers={"probe": PROBE},
        **options,
    )


def test_red_hair_is_no_red_hat():
    seen = hat("hair_red")
    assert (seen.attribute, seen.guessed, seen.unread) == (None, True, True), "no hat is read"
    assert judge(seen).name in ("off target", "unlike")
    named = hat("hair_red", attribute="hair_red")
    assert not named.guessed
    assert float(mean("best share", named)) > 0.3, "by the probe alone it would go far"
    blind = {name: reading for name, reading in named.readings.items() if name != PICTURE}
    assert judge(replace(named, readings=blind, match=0.3)).name == "works"
    assert judge(named).name == "unlike"


@pytest.mark.parametrize(
    "edit", [*EDITS, *(pytest.param(edit, marks=pytest.mark.heavy) for edit in OTHERS)]
)
def test_perfect_edits_of_other_people_are_like_their_pairs(edit):
    seen = rendered(edit, edit, attribute=edit)
    assert judge(seen).name == "works"
    assert float(mean("picture place", seen)) > 0.55


def test_other_edits_change_the_pictures_elsewhere():
    seen = rendered("hair_length", "smile")
    assert direction(seen).abs().max() < 0.3
    assert place(seen).max() < 0.3
    assert direction(seen)[seen.zero] == place(seen)[seen.zero] == 0
    undone = rendered("smile", "smile", [AFTER, 0.45, BEFORE])
    assert direction(undone)[1:].max() < -0.5
    assert place(undone)[1:].min() > 0.8


def test_of_an_edit_that_no_reader_knows_the_pictures_alone_tell():
    people, pairs = faces("smile", BEFORE, 4), faces("smile", BEFORE, 3, seed=5)

    def worn(*columns, **options):
        return collect(
            torch.stack(columns, 1),
            scales=(0.0, 1.0),
            before=pairs,
            after=with_hat(pairs),
            readers={"probe": PROBE},
            **{"attribute": "none", **options},
        )

    seen = worn(people, with_hat(people))
    assert (seen.attribute, seen.guessed, seen.unread) == (None, False, True)
    assert judge(seen).name == "works"
    assert effect(seen).mean(0)[1] == pytest.approx(1, abs=0.3), "as much as the pairs show"
    assert judge(worn(with_hat(people), people)).name == "reversed"
    unsaid = worn(people, with_hat(people), attribute=None)
    assert (unsaid.attribute, unsaid.guessed, unsaid.unread) == (None, True, True)
    assert judge(unsaid).told == "works (by the pictures alone; nobody named the edit)"
    assert judge(seen).told == "works (by the pictures alone)"
    assert judge(hat("hair_red", attribute="none")).name in ("off target", "unlike")


def test_a_hat_put_on_is_like_the_pairs_though_no_probe_reads_it():
    people = faces("smile", BEFORE, 4)
    seen = collect(
        torch.stack([people, with_hat(people)], 1),
        scales=(0.0, 1.0),
        before=faces("smile", BEFORE, 3, seed=5),
        after=with_hat(faces("smile", BEFORE, 3, seed=5)),
        readers={},
    )
    assert seen.readings[PICTURE].lanes.shape == (4, 2, 768)
    assert judge(seen).name == "works"
    assert float(mean("picture place", seen)) > 0.9


def smeared(amount, count=4):
    """Return a slider that paints a red nose, and darkens the eyes by so much."""
    people, pairs = faces("smile", BEFORE, count), faces("smile", BEFORE, 3, seed=5)

    def nosed(faces: torch.Tensor) -> torch.Tensor:
        images = [to_image(face) for face in faces]
        for image in images:
            place = [part * image.width for part in (0.43, 0.48, 0.57, 0.62)]
            ImageDraw.Draw(image).ellipse(place, fill=(225, 25, 25))
        return torch.stack([to_tensor(image) for image in images])

    after = nosed(people)
    after[..., 44:60, 32:96] -= amount
    return collect(
        torch.stack([people, people.lerp(after, 0.5), after, people.lerp(after, 1.2)], 1),
        scales=(0.0, 0.5, 1.0, 1.2),
        before=pairs,
        after=nosed(pairs),
        readers={"probe": PROBE},
    )


def test_what_smears_more_than_it_edits_does_not_work():
    clean, smeary = smeared(0.0), smeared(0.55)
    assert float(mean("best share", smeary)) > 1, "the edit is there"
    assert judge(clean).name == "works"
    found = judge(smeary)
    assert found.name == "damaging"
    assert "use smaller scales" in found.advise()
    assert judge(smeared(0.55, count=3)).name == "works", "three people do not tell"
    weak = smeary.only([0, 1])
    assert float(mean("best share", weak)) < 1
    assert judge(weak).name == "weak", "pictures alone do not tell half an edit from a smear"
    assert (
        judge(weak).advise().startswith("no scale that was tried is worth one pair: train longer")
    )

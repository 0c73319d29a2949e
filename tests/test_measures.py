"""Every measure returns the known answer: on faces rendered with known changes, and by hand."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from pairedit.data.images import to_image, to_tensor
from pairedit.measure import evidence, measures
from pairedit.measure.effect import effect, worth
from pairedit.measure.evaluate import gather
from pairedit.measure.evidence import Evidence, Reading
from pairedit.measure.intervals import crossing, summarise
from pairedit.measure.measures import MEASURES
from pairedit.measure.verdict import ADVICE, judge
from pairedit.mini.faces import ATTRIBUTES, INDEX, TIED, render, sample_attributes, with_attribute
from pairedit.mini.probe import read

SCALES = (0.0, 0.25, 0.5)
BEFORE, AFTER = 0.2, 0.7  # the pairs' attribute; half of the range is one pair's worth
NAN = float("nan")


@cache
def faces(attribute: str, value: float, count: int = 4, seed: int = 77) -> torch.Tensor:
    """Return people with one attribute set, as a PNG would hold them, [count, 3, 128, 128]."""
    people = sample_attributes(count, torch.Generator().manual_seed(seed))
    drawn = render(with_attribute(people, attribute, value)).float() * 2 - 1
    return torch.stack([to_tensor(to_image(image)) for image in drawn])


def rendered(slider: str, edit: str, values=None, scales=SCALES, **options) -> Evidence:
    """Return what is seen of a slider that sets an attribute, with pairs of an edit."""
    values = values or [BEFORE + scale for scale in scales]
    return gather(
        torch.stack([faces(slider, value) for value in values], dim=1),
        scales=scales,
        before=faces(edit, BEFORE, 3, seed=5),
        after=faces(edit, AFTER, 3, seed=5),
        readers={"probe": lambda images, bases: read(images)},
        **options,
    )


def path(points: list[list[float]], scales: tuple[float, ...], **parts) -> Evidence:
    """Return a slider whose images are points in the plane, the same for 4 lanes."""
    images = torch.tensor(points)
    distance = torch.cdist(images, images).expand(4, -1, -1)
    parts = {"strangers": torch.full((4,), 10.0), **parts}
    return Evidence(scales=scales, distance=distance, **parts)


def probed(changes: dict[str, list[float]], attribute="smile", lanes=4, **parts) -> Evidence:
    """Return a slider at scales 0, 0.5, 1 whose attributes are given, the rest at rest."""
    values = torch.full((lanes, 3, len(ATTRIBUTES)), 0.2)
    values += torch.linspace(0, 0.4, lanes)[:, None, None] * torch.eye(len(ATTRIBUTES))[0]
    for name, column in changes.items():
        values[..., INDEX[name]] += torch.tensor(column)
    before = torch.full((3, len(ATTRIBUTES)), 0.2)
    after = before.clone()
    after[:, INDEX[attribute]] += 0.5
    return Evidence(
        scales=(0.0, 0.5, 1.0),
        distance=0.1 * torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]]).expand(lanes, -1, -1),
        strangers=torch.full((lanes,), 10.0),
        pair_distance=0.1,
        attribute=attribute,
        readings={"probe": Reading(lanes=values, before=before, after=after)},
        **parts,
    )


def mean(name: str, seen: Evidence) -> torch.Tensor:
    return summarise(MEASURES[name], seen).mean


@pytest.mark.parametrize("edit", ["smile", "age"])
def test_a_perfect_slider_is_read_as_one(edit):
    seen = rendered(edit, edit)
    assert seen.attribute == edit, "found from the pairs alone"
    torch.testing.assert_close(mean("target", seen), torch.tensor(SCALES), atol=0.12, rtol=0)
    # A person at 0.2 has exactly one pair's worth left.
    assert worth(seen) == pytest.approx(0.5, abs=0.1)
    share = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(mean("share of a pair", seen), share, atol=0.15, rtol=0)
    assert float(mean("off-target", seen)[2]) < 0.04
    assert float(mean("monotonicity", seen)) > 0.97
    assert float(mean("violated steps", seen)) < 0.05
    assert float(mean("matched scale", seen)) == pytest.approx(0.25, abs=0.08)
    assert float(mean("starts at", seen)) == pytest.approx(0.05, abs=0.04)
    assert math.isnan(float(mean("lost at", seen)))
    assert judge(seen).name == "works"


def test_the_calibration_is_the_scale_worth_a_pair():
    seen = rendered("age", "age", scales=(0.0, 0.25, 0.5, 0.7))
    found = summarise(MEASURES["calibration"], seen)
    assert float(found.mean) == pytest.approx(0.5, abs=0.08)
    assert float(found.low) <= float(found.mean) <= float(found.high)


def test_another_edit_is_off_target():
    seen = rendered("tilt", "smile", attribute="smile")
    assert abs(float(mean("target", seen)[2])) < 0.08
    # One of the unrelated attributes moves by a half.
    others = len(ATTRIBUTES) - 1 - len(TIED["smile"])
    assert float(mean("off-target", seen)[2]) > 0.45 / others
    assert judge(seen).name == "off target"


def test_a_slider_that_undoes_the_edit_is_reversed():
    seen = rendered("age", "age", values=[0.7, 0.45, 0.2], attribute="age")
    seen = Evidence(**{**vars(seen), "readings": shifted(seen.readings, "age")})
    assert float(mean("monotonicity", seen)) < -0.9
    assert judge(seen).name == "reversed"


def shifted(readings, attribute):
    """Move the pairs up, so that old people still have a pair's worth left."""
    reading = readings["probe"]
    more = torch.zeros(len(ATTRIBUTES))
    more[INDEX[attribute]] = 0.5
    return {
        "probe": Reading(
            lanes=reading.lanes, before=reading.before + more, after=reading.after + more
        )
    }


def test_other_people_are_where_identity_is_lost():
    images = torch.stack([faces("age", 0.2), faces("age", 0.3), faces("age", 0.2, seed=99)], dim=1)
    seen = gather(
        images,
        scales=(0.0, 0.5, 1.0),
        before=faces("age", BEFORE, 3, seed=5),
        after=faces("age", AFTER, 3, seed=5),
        readers={"probe": lambda images, bases: read(images)},
    )
    lost = mean("identity", seen)
    assert float(lost[1]) < 0.3
    assert float(lost[2]) == pytest.approx(2, abs=0.4), "half-way to a stranger is 1"
    assert 0.5 < float(mean("lost at", seen)) < 1


def test_tied_attributes_are_not_blamed():
    change = {name: [0.0, 0.2, 0.5] for name in TIED["age"]}
    assert float(mean("off-target", probed(change, "age")).abs().max()) == 0
    assert float(mean("off-target", probed(change, "smile")).max()) > 0


def test_matched_strength_lies_between_scales():
    seen = probed({"smile": [0.0, 0.2, 0.4], "skin": [0.0, 0.0, 0.31]}, match=0.6)
    others = len(ATTRIBUTES) - 1 - len(TIED["smile"])
    assert float(mean("matched scale", seen)) == pytest.approx(0.75)
    assert float(mean("matched off-target", seen)) == pytest.approx(0.5 * 0.31 / others, rel=1e-4)
    weak = probed({"smile": [0.0, 0.02, 0.1]}, match=0.6)
    for name in ("matched scale", "matched off-target", "calibration"):
        assert math.isnan(float(mean(name, weak))), name
    assert float(mean("best share", weak)) == pytest.approx(0.2, abs=1e-5)
    assert judge(weak).name == "weak"


def test_without_pairs_the_attribute_decides_else_nobody_does():
    def alone(column, **parts):
        return replace(probed({"smile": column}), pair_distance=None, **parts)

    up, down, flat = ([0.0, x, 2 * x] for x in (0.12, -0.12, 0.01))
    assert effect(alone(up))[0].tolist() == pytest.approx(up, abs=1e-6)
    assert [judge(alone(c)).name for c in (up, down, flat)] == ["works", "reversed", "off target"]
    assert judge(alone(up, attribute=None)).name == "changes"


def test_a_pairs_worth_is_no_more_than_what_is_left():
    seen = probed({"smile": [0.3, 0.4, 0.5]})
    assert worth(seen) == pytest.approx(0.2), "the people start at 0.5, the pairs end at 0.7"
    assert effect(seen)[0].tolist() == pytest.approx([0, 0.5, 1], abs=1e-5)


def test_monotonicity_counts_turns():
    up, turns = (probed({"smile": column}) for column in ([0, 0.1, 0.2], [0, 0.2, 0.1]))
    assert float(mean("monotonicity", up)) == pytest.approx(1)
    assert float(mean("violated steps", up)) == 0
    assert float(mean("monotonicity", turns)) == pytest.approx(0.5)
    assert float(mean("violated steps", turns)) == 0.5
    assert float(mean("monotonicity", probed({}))) == 0


def test_a_straight_even_path_is_continuous():
    seen = path([[-1.0, 0], [0, 0], [1, 0], [2, 0]], (-0.5, 0.0, 0.5, 1.0))
    for name in ("triangle deficit", "unevenness", "jump at 0", "violated steps"):
        assert float(mean(name, seen)) == pytest.approx(0, abs=1e-6), name
    assert mean("image change", seen).tolist() == [1, 0, 1, 2]
    assert float(mean("monotonicity", seen)) == pytest.approx(1), "negative scales count down"


def test_detours_uneven_steps_and_jumps_are_measured():
    back = path([[0.0, 0], [1, 0], [0, 0]], (0.0, 0.5, 1.0))
    assert float(mean("triangle deficit", back)) == pytest.approx(1)
    corner = path([[0.0, 0], [3, 0], [3, 4]], (0.0, 0.5, 1.0))
    assert float(mean("triangle deficit", corner)) == pytest.approx(2 / 7)
    uneven = path([[0.0, 0], [1, 0], [4, 0]], (0.0, 0.5, 1.0))
    assert float(mean("unevenness", uneven)) == pytest.approx(0.5)
    # As large a step as before over a scale as wide as before is even, wherever the scales lie.
    wide = path([[0.0, 0], [1, 0], [4, 0]], (0.0, 0.25, 1.0))
    assert float(mean("unevenness", wide)) == pytest.approx(0, abs=1e-6)
    jumps = path([[0.0, 0], [3, 0], [4, 0], [5, 0]], (0.0, 0.5, 1.0, 1.5))
    assert float(mean("jump at 0", jumps)) == pytest.approx(2 / 5)


def test_without_a_probe_the_pairs_own_distance_is_the_measure():
    seen = path([[0.0, 0], [1, 0], [2, 0]], (0.0, 0.5, 1.0), pair_distance=1.5)
    assert float(mean("calibration", seen)) == pytest.approx(0.75)
    assert "target" not in {name for name, m in MEASURES.items() if m.needs <= seen.has}
    with pytest.raises(KeyError, match="target needs attribute, probe"):
        summarise(MEASURES["target"], seen)


def test_clip_tells_the_direction():
    lanes = torch.tensor([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]]).expand(4, -1, -1)
    up = Reading(lanes=lanes, before=torch.zeros(2, 2), after=torch.tensor([[2.0, 0], [2, 0]]))
    down = Reading(lanes=lanes, before=up.after, after=up.before)
    scales = (0.0, 0.5, 1.0)
    for reading, sign in ((up, 1), (down, -1)):
        seen = path(
            [[0.0], [1], [2]], scales, pair_distance=1.0, readings={"clip": reading}, match=0.3
        )
        assert mean("clip direction", seen).tolist() == pytest.approx([0, sign, sign])
        assert mean("share of a pair", seen).tolist() == pytest.approx([0, sign / 4, sign / 2])
    assert judge(seen).name == "reversed"


def test_likeness_is_measured_against_scale_0():
    lanes = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]).expand(4, -1, -1)
    none = torch.zeros(0, 1)
    readings = {n: Reading(lanes=lanes, before=none, after=none) for n in ("dino", "arcface")}
    seen = path([[0.0], [1], [2]], (0.0, 0.5, 1.0), readings=readings)
    assert mean("face similarity", seen).tolist() == pytest.approx([1, 0, -1])
    assert mean("dino distance", seen).tolist() == pytest.approx([0, 1, 2])


@pytest.mark.parametrize(
    ("curve", "level", "expected"),
    [
        ([9.0, 0, 1, 2], 1.5, 0.75),  # negative scales are left out
        ([0.0, 0, 1, 0.5], 0.5, 0.25),  # the first time
        ([0.0, 0, 1, 2], 2.5, NAN),
        ([0.0, 0, -1, -2], 0.5, NAN),
    ],
)
def test_where_a_curve_reaches_a_level(curve, level, expected):
    found = float(crossing((-0.5, 0.0, 0.5, 1.0), torch.tensor(curve), level))
    assert found == pytest.approx(expected, nan_ok=True)


def test_the_interval_holds_the_mean_and_shrinks_with_more_lanes():
    def spread(lanes: int) -> tuple[float, float, float]:
        seen = probed({"smile": [0.0, 0.1, 0.2]}, lanes=lanes)
        noise = torch.randn(lanes, generator=torch.Generator().manual_seed(1)) * 0.1
        seen.readings["probe"].lanes[:, 2, INDEX["smile"]] += noise
        found = summarise(MEASURES["target"], seen)
        return float(found.low[2]), float(found.mean[2]), float(found.high[2])

    low, middle, high = spread(200)
    assert low < middle < high
    wide = spread(20)
    assert high - low < wide[2] - wide[0]


def test_an_interval_has_no_end_where_lanes_do_not_get_there():
    seen = probed({"smile": [0.0, 0.1, 0.2]}, lanes=6)
    seen.readings["probe"].lanes[:3, 2, INDEX["smile"]] += 0.7
    found = summarise(MEASURES["calibration"], seen)
    assert 0.5 < float(found.low) < float(found.mean) < 1
    assert float(found.high) == math.inf


def test_a_slider_that_changes_nothing_is_a_no_op():
    seen = path([[0.0], [0], [0]], (0.0, 0.5, 1.0), pair_distance=0.1)
    assert judge(seen).name == "no-op"
    for measured in MEASURES.values():
        if measured.needs <= seen.has:
            summarise(measured, seen)
    assert judge(path([[0.0], [0.001]], (0.0, 1.0))).name == "no-op", "also without pairs"


def test_every_verdict_but_the_good_one_has_advice():
    assert {name for name, advice in ADVICE.items() if not advice} == {"works"}


def test_a_measure_is_one_function():
    @evidence.measure("brightest", "pairs")
    def brightest(seen):
        """Say something."""
        return seen.change.amax(1)

    try:
        assert MEASURES["brightest"].meaning == "Say something."
        seen = path([[0.0], [1], [2]], (0.0, 0.5, 1.0), pair_distance=1.0)
        assert float(mean("brightest", seen)) == 2
    finally:
        del MEASURES["brightest"]


def test_every_measure_is_defined_in_one_line():
    assert set(MEASURES) >= {"target", "off-target", "monotonicity", "jump at 0", "calibration"}
    for name, measured in MEASURES.items():
        assert measured.meaning.endswith("."), name
    assert measures.target is MEASURES["target"].function


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"attribute": "smirk"}, "smirk"), ({"scales": (0.1, 0.25, 0.5)}, "0 is missing")],
)
def test_what_cannot_be_measured_is_refused(options, reason):
    black = torch.zeros(2, 3, 3, 128, 128)
    readers = {"probe": lambda images, bases: read(images)}
    given = {"scales": SCALES, "before": black[0], "after": black[1], "readers": readers}
    with pytest.raises(ValueError, match=reason):
        gather(black, **{**given, **options})

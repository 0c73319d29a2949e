"""Every measure returns the known answer: on faces rendered with known changes, and by hand."""

import math
from dataclasses import replace

import pytest
import torch

from pairedit.measure import measures
from pairedit.measure.effect import worth
from pairedit.measure.evidence import Evidence, Reading, collect
from pairedit.measure.intervals import summarise
from pairedit.measure.measures import MEASURES
from pairedit.measure.verdict import judge
from pairedit.mini.faces import ATTRIBUTES, INDEX, TIED
from seen import AFTER, BEFORE, EMBEDS, PROBE, faces, mean, path, probed, rendered


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
    return {"probe": replace(reading, before=reading.before + more, after=reading.after + more)}


def test_other_people_are_where_identity_is_lost():
    images = torch.stack([faces("age", 0.2), faces("age", 0.3), faces("age", 0.2, seed=99)], dim=1)
    seen = collect(
        images,
        scales=(0.0, 0.5, 1.0),
        before=faces("age", BEFORE, 3, seed=5),
        after=faces("age", AFTER, 3, seed=5),
        readers={"probe": PROBE},
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


def test_linearity_is_that_of_the_effect_up_to_a_pairs_worth():
    def linear(column):
        return float(mean("linearity", probed({"smile": column})))

    assert linear([0.0, 0.25, 0.5]) == pytest.approx(1)
    assert linear([0.0, 0.0, 0.5]) == pytest.approx(0.8, abs=1e-5)
    # Worth a pair at 0.9, so it is measured to the last scale.
    assert 0.8 < linear([0.0, 0.1, 0.6]) < 1
    assert math.isnan(linear([0.0, 0.2, 0.4])), "no pair's worth is reached"
    assert math.isnan(linear([0.0, 0.6, 1.2])), "one scale on the way tells nothing"


def test_the_frontier_counts_the_way_as_well():
    others = len(ATTRIBUTES) - 1 - len(TIED["smile"])
    even = probed({"smile": [0.0, 0.2, 0.4], "skin": [0.0, 0.1, 0.2]}, match=0.6)
    assert float(mean("frontier", even)) == pytest.approx(0.15 / others / 2, rel=1e-4)
    late = probed({"smile": [0.0, 0.2, 0.4], "skin": [0.0, 0.0, 0.2]}, match=0.6)
    # Nothing up to an effect of 0.4, half of the last step's 0.2 at 0.6.
    assert float(mean("frontier", late)) == pytest.approx(0.05 / others * 0.2 / 0.6, rel=1e-4)
    assert math.isnan(float(mean("frontier", probed({"smile": [0.0, 0.02, 0.1]}, match=0.6))))


def test_the_floor_is_what_a_perfect_slider_reads():
    others = len(ATTRIBUTES) - 1 - len(TIED["smile"])
    perfect = {"smile": [0.0, 0.25, 0.5], "skin": [0.0, 0.05, 0.1], "mouth_width": [0.0, 1, 2]}
    seen = probed(perfect, match=0.6)
    assert float(mean("floor", seen)) == pytest.approx(0, abs=1e-6), "these pairs change no other"
    for name, column in perfect.items():
        if name != "smile":
            seen.readings["probe"].after[:, INDEX[name]] += column[-1]
    assert float(mean("floor", seen)) == pytest.approx(0.6 * 0.1 / others, rel=1e-4)
    assert float(mean("matched off-target", seen)) == pytest.approx(float(mean("floor", seen)))
    # Errors of either sign do not make up for each other.
    seen.readings["probe"].after[0, INDEX["skin"]] -= 0.2
    assert float(mean("floor", seen)) == pytest.approx(0.6 * 0.1 / others, rel=1e-4)
    # People who smile already have less left, so that sliders are compared at a smaller change.
    near = replace(
        probed({"smile": [0.3, 0.4, 0.5]}, match=0.6),
        readings={
            "probe": replace(seen.readings["probe"], lanes=seen.readings["probe"].lanes.clone())
        },
    )
    near.readings["probe"].lanes[..., INDEX["smile"]] += 0.3
    assert worth(near) == pytest.approx(0.2)
    assert float(mean("floor", near)) == pytest.approx(0.4 * 0.6 * 0.1 / others, rel=1e-4)
    near.readings["probe"].lanes[..., INDEX["smile"]] += 0.3
    assert math.isnan(float(mean("floor", near))), "nothing is left to do"


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
    after = torch.tensor([[2.0, 0], [2, 0]])
    up = Reading(instrument=EMBEDS, lanes=lanes, before=torch.zeros(2, 2), after=after)
    down = replace(up, before=up.after, after=up.before)
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
    reading = Reading(instrument=EMBEDS, lanes=lanes, before=none, after=none)
    readings = dict.fromkeys(("dino", "arcface"), reading)
    seen = path([[0.0], [1], [2]], (0.0, 0.5, 1.0), readings=readings)
    assert mean("face similarity", seen).tolist() == pytest.approx([1, 0, -1])
    assert mean("dino distance", seen).tolist() == pytest.approx([0, 1, 2])


def test_every_measure_is_defined_in_one_line():
    assert set(MEASURES) >= {"target", "off-target", "monotonicity", "jump at 0", "calibration"}
    for name, measured in MEASURES.items():
        assert measured.meaning.endswith("."), name
    assert measures.target is MEASURES["target"]

"""Which pairs a sheet shows, and which scales a slider has by default."""

import pytest

from composing import composed
from pairedit.lora.file import annotate_lora
from pairedit.plan.gen import plan_gen
from pairedit.plan.usual import DEFAULT_SCALES, FURTHER_SCALES, GRID_SCALES

USE = {"skip": 0.6, "local": True, "schedule": 1.0, "by": "probe"}
WORTH = {
    "scale": 0.62,
    "skip": 2,
    "sigma": 0.6,
    "num_inference_steps": 4,
    "local": True,
    "schedule": 1.0,
}
SHARED = (-0.31, 0.0, 0.31, 0.62, 0.93)


@pytest.fixture
def plan(lora, tiny_overrides):
    """Plan a rendering of the slider."""

    def made(*words, path=lora.path):
        return plan_gen(composed("gen", f"lora={path}", *tiny_overrides, *words))

    return made


@pytest.fixture
def calibrated(lora):
    annotate_lora(lora.path, use=USE, calibration=WORTH)
    return lora.path


def trained_on(path, folder):
    """Let a file say that it was trained on the pairs of a folder."""
    entry = {"name": "disc", "folder": str(folder)}
    annotate_lora(path, dataset="disc", config={"datasets": {"disc": entry}})


def scales(plan):
    return [slider.scales for slider in plan.sliders]


def test_a_calibrated_slider_is_shown_in_pairs(plan, calibrated):
    assert scales(found := plan()) == [SHARED]
    assert (found.worth, found.units) == (0.62, [1.0])
    assert found.resolved["scales"] == list(SHARED)
    found = plan("calibrated=true")
    assert scales(found) == [(-0.5, 0.0, 0.5, 1.0, 1.5)]
    assert (found.worth, found.units) == (1.0, [0.62])
    found = plan("scales=[0,0.3]")
    assert (scales(found), found.worth) == ([(0.0, 0.3)], 0.62)


@pytest.mark.parametrize(
    "word", ["skip=1", "local=false", "schedule=flat", "num_inference_steps=5"]
)
def test_in_another_use_nobody_knows_what_one_pair_is(plan, calibrated, word):
    found = plan(word)
    assert (scales(found), found.worth) == ([DEFAULT_SCALES], None)


def test_on_another_base_neither(plan, calibrated):
    annotate_lora(calibrated, calibration={**WORTH, "model": "flux-dev"})
    assert plan().worth is None
    annotate_lora(calibrated, calibration={**WORTH, "model": "flux-mini"})
    assert plan().worth == 0.62


def test_each_of_several_sliders_in_its_own_pairs(plan, calibrated, loras):
    other = loras[1].path
    both = f"[{calibrated},{other}]"
    assert scales(plan(path=both)) == [DEFAULT_SCALES] * 2, "one of them knows nothing"
    annotate_lora(other, use=USE, calibration={**WORTH, "scale": 0.2})
    found = plan(path=both)
    assert (scales(found), found.worth) == ([SHARED, (-0.1, 0.0, 0.1, 0.2, 0.3)], None)
    own = f"[{calibrated},{{path: {other}, scales: [0.4]}}]"
    assert scales(plan(path=own)) == [SHARED, (0.4,) * 5]
    assert scales(plan("grid=true", path=both))[0] == GRID_SCALES * 4


def test_a_slider_that_hardly_shows_is_shown_as_in_its_preview(plan, lora, loras):
    further = [-0.5, 0, 0.5, 1, 1.5]
    annotate_lora(lora.path, shown=further)
    assert scales(found := plan()) == [FURTHER_SCALES]
    assert found.worth is None, "nobody knows what one pair is"
    assert scales(plan("scales=[0,0.3]")) == [(0.0, 0.3)]
    both = f"[{lora.path},{loras[1].path}]"
    assert scales(plan(path=both)) == [DEFAULT_SCALES] * 2, "the other one shows at these"
    annotate_lora(lora.path, use=USE, calibration=WORTH)
    assert scales(plan()) == [SHARED], "what was measured holds"
    for strange in ("1", [0, 1], [0, 1, 2, 3, "4"], [0, 1, 2, 3, None]):
        annotate_lora(lora.path, calibration=None, shown=strange)
        assert scales(plan()) == [DEFAULT_SCALES]


def test_pairs_are_those_of_the_file_where_they_are_there(plan, lora, pair_folder, tmp_path):
    assert plan().pairs == {}, "a stranger's file names none"
    trained_on(lora.path, pair_folder)
    found = plan()
    assert [pair.stem for pair in found.pairs["disc"]] == ["p0", "p1"]
    assert not [note for note in found.notes if "sheet" in note]
    assert plan("pairs=false").pairs == {}
    trained_on(lora.path, tmp_path / "gone")
    found = plan()
    assert found.pairs == {}
    (note,) = [note for note in found.notes if "sheet" in note]
    assert f"{lora.path}: the sheet has no pairs, since {tmp_path / 'gone'}: no source/" in note
    assert list(plan(f"pairs={pair_folder}").pairs) == ["disc"]
    with pytest.raises(ValueError, match=r"^pairs=.*/gone: no such folder"):
        plan(f"pairs={tmp_path / 'gone'}")
    with pytest.raises(ValueError, match="holds one side"):
        plan(f"pairs={pair_folder / 'source'}")


def test_differences_need_scale_0(plan):
    assert plan("differences=true").differences
    with pytest.raises(ValueError, match="differences=true: are from scale 0"):
        plan("differences=true", "scales=[0.2,0.4]")


def test_nothing_is_noted_of_what_is_usual(plan):
    found = plan().resolved
    assert not {"pairs", "differences"} & set(found)
    assert plan("pairs=false", "differences=true").resolved["pairs"] is False

"""The people that a training shows at its end."""

from types import SimpleNamespace

import pytest

from drawing import COLOURS, SCALES, pairs_in, slider
from pairedit.jobs import shooting
from pairedit.jobs.shooting import first_lanes
from pairedit.plan.usual import DEFAULT_SCALES, FURTHER_SCALES
from pairedit.sample import Slider


@pytest.mark.parametrize(
    ("faint", "training", "lanes", "scales"),
    [(False, 45, 4, DEFAULT_SCALES), (True, 45, 2, FURTHER_SCALES), (True, 59, 3, FURTHER_SCALES)],
)
def test_people_that_are_rendered_twice_take_time_twice(
    monkeypatch, faint, training, lanes, scales
):
    """One takes a second; all of them take a tenth of the training at most."""
    clock = [0.0]

    def shoot(base, plan, slider, seeds):
        clock[0] += len(seeds)
        return [[(seed, scale) for scale in slider.scales] for seed in seeds]

    monkeypatch.setattr(shooting, "_shoot", shoot)
    monkeypatch.setattr(shooting, "_is_faint", lambda *_: faint)
    monkeypatch.setattr(shooting, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    plan = SimpleNamespace(preview=True, report=True, scored=False)
    slider = Slider(lora=None, scales=DEFAULT_SCALES)
    found, further = first_lanes(None, plan, None, slider, {}, training, settled=False)
    assert found == [[(seed, scale) for scale in scales] for seed in range(lanes)]
    assert further == faint
    assert clock[0] <= training / 10


@pytest.mark.parametrize(("most", "faint"), [(0.8, False), (0.2, True)])
def test_half_a_pair_by_the_pictures_alone_is_weak_and_no_reason_to_go_on(tmp_path, most, faint):
    result = slider(pairs_in(tmp_path), attribute="none", moves=(0.2 * most / SCALES[-1], 0.0))
    assert result.verdict.name == "weak"
    lanes = [[result.samples[lane, k] for k in range(len(SCALES))] for lane in range(4)]
    plan = SimpleNamespace(preview=True, preview_at=SimpleNamespace(size=(16, 16)))
    used = Slider(lora=None, scales=SCALES)
    assert shooting._is_faint(plan, result.subject, used, lanes, {"probe": COLOURS}) is faint

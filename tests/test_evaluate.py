"""The measures return the known answer on faces rendered with known attribute changes."""

import pytest
import torch

from pairedit.data import to_image
from pairedit.evaluate import curve, interval, measure
from pairedit.faces import ATTRIBUTES, INDEX, TIED, render, sample_attributes, with_attribute
from pairedit.sample import Sample

SCALES = (0.0, 0.25, 0.5)


def rendered(attribute: str, count: int = 12) -> list[Sample]:
    """Return people whose attribute is 0.2 plus the scale, as a perfect slider would draw them."""
    people = sample_attributes(count, torch.Generator().manual_seed(77))
    return [
        Sample(seed=seed, prompt="", column=k, scales=(scale,), image=to_image(image * 2 - 1))
        for k, scale in enumerate(SCALES)
        for seed, image in enumerate(render(with_attribute(people, attribute, 0.2 + scale)).float())
    ]


@pytest.mark.parametrize("edit", ["smile", "age", "beard"])
def test_a_perfect_slider_is_read_as_one(edit):
    found = measure(rendered(edit), edit)
    assert found.scales == SCALES
    assert found.target.shape == (12, 3)
    torch.testing.assert_close(found.target.mean(0), torch.tensor(SCALES), atol=0.12, rtol=0)
    assert float(found.off_target.mean(0)[2]) < 0.04


def test_another_edit_is_off_target():
    found = measure(rendered("tilt"), "smile")
    assert abs(float(found.target.mean(0)[2])) < 0.08
    # One of the unrelated attributes moves by a half.
    others = len(ATTRIBUTES) - 1 - len(TIED["smile"])
    assert float(found.off_target.mean(0)[2]) > 0.45 / others


def test_tied_attributes_are_not_blamed():
    values = torch.zeros(4, 2, len(ATTRIBUTES))
    for name in TIED["age"]:
        values[:, 1, INDEX[name]] = 0.5
    assert float(curve(values, (0.0, 1.0), "age").off_target.abs().max()) == 0
    assert float(curve(values, (0.0, 1.0), "smile").off_target.max()) > 0


def test_matched_strength_lies_between_scales():
    values = torch.zeros(3, 3, len(ATTRIBUTES))
    values[:, 1, INDEX["smile"]], values[:, 2, INDEX["smile"]] = 0.2, 0.4
    values[:, 2, INDEX["skin"]] = 0.31
    found = curve(values, (0.0, 0.5, 1.0), "smile")
    others = len(ATTRIBUTES) - 1 - len(TIED["smile"])
    assert found.reaches(0.3) == pytest.approx(0.5 * 0.31 / others)
    assert found.reaches(0.5) is None


def test_the_interval_holds_the_mean_and_shrinks_with_more_seeds():
    values = torch.randn(400, generator=torch.Generator().manual_seed(1))
    low, high = interval(values)
    assert low < float(values.mean()) < high
    wide = interval(values[:40])
    assert high - low < wide[1] - wide[0]


@pytest.mark.parametrize(
    ("edit", "scales", "reason"),
    [("smirk", (0.0, 1.0), "smirk"), ("smile", (0.5, 1.0), "0 is missing")],
)
def test_what_cannot_be_measured_is_refused(edit, scales, reason):
    image = to_image(torch.zeros(3, 128, 128))
    samples = [Sample(seed=0, prompt="", column=0, scales=(s,), image=image) for s in scales]
    with pytest.raises(ValueError, match=reason):
        measure(samples, edit)

"""What a training sets apart from its hardware follows the sizes of its pictures."""

import pytest
from PIL import Image

from pairedit.data.examples import Single
from pairedit.data.shapes import Fit
from pairedit.machine.hardware import profile
from pairedit.plan.model import trained_by
from pairedit.settings import Training

SIZES = [(64, 64), (64, 128), (128, 64), (96, 64)]


@pytest.mark.parametrize(
    ("count", "steps", "changes"),
    [
        (1, 250, {"steps": 250}),
        (3, 750, {"steps": 250}),
        (4, 1000, {"steps": 250, "graphs": False}),
    ],
)
def test_steps_are_counted_for_each_size_and_few_sizes_have_graphs(tmp_path, count, steps, changes):
    paths = [tmp_path / f"{number}.png" for number in range(count)]
    for path, size in zip(paths, SIZES, strict=False):
        Image.new("RGB", size).save(path)
    settings = Training(steps=steps, size=Fit(resolution=64, unit=16))
    examples = {"mine": [Single(path=path) for path in paths]}
    assert trained_by(profile("80gb"), {}, settings, examples) == changes

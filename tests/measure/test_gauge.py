"""What tells that a training has learnt enough measures what it says, at the cost it says."""

import pytest
import torch

from pairedit.data.examples import Contrast, Single, find_pairs
from pairedit.measure.gauge import probe_gauge, size_gauge
from pairedit.measure.readers import Instrument
from pairedit.settings import Training

SETTINGS = Training(size=(32, 32), num_inference_steps=6, end_step=5)
CONTRAST = Contrast(target="", positive="a", negative="b")


class Model:
    """Predict what the LoRA moves by a known share; count the passes."""

    def __init__(self, strength):
        self.strength, self.passes = strength, 0

    def __call__(self, noisy, sigma, prompt, scales):
        self.passes += 1
        return noisy * (1 + self.strength * scales.get("semantic", 0.0))


@pytest.mark.parametrize("kind", ["pairs", "images", "prompts"])
def test_the_size_of_an_edit_is_its_share_of_the_prediction(flux, pair_folder, kind):
    pairs = find_pairs(pair_folder)
    single = [Single(path=pair.source) for pair in pairs]
    examples = {"pairs": pairs, "images": single, "prompts": [CONTRAST]}[kind]
    gauge = size_gauge(flux, examples, SETTINGS, "semantic")
    for strength in (0.0, 0.25, 2.0):
        assert gauge.read(Model(strength)) == pytest.approx(strength, abs=1e-6)
    model = Model(1.0)
    gauge.read(model)
    assert model.passes == gauge.passes


def red(images, references):
    return torch.stack([images.mean((1, 2, 3)) * 0, images[:, 0].mean((1, 2))], dim=1)


def test_a_probe_reads_how_far_the_edit_goes_the_way_of_the_pairs(flux, pair_folder):
    probe = Instrument(read=red, columns=("other", "red"))
    pairs = find_pairs(pair_folder)
    gauge = probe_gauge(flux, pairs, SETTINGS, "semantic", probe, "red")
    assert gauge.read(Model(0.0)) == 0
    model = Model(0.7)
    found = gauge.read(model)
    assert found != 0
    assert model.passes == gauge.passes
    # One that reads the opposite, in the pairs and in the pictures, finds the same effect.
    other = Instrument(read=lambda *sides: -red(*sides), columns=("other", "red"))
    mirrored = probe_gauge(flux, pairs, SETTINGS, "semantic", other, "red")
    assert mirrored.read(Model(0.7)) == pytest.approx(found)

"""Strength over the steps: words and numbers, the average, and what they mean to a rendering."""

import numpy as np
import pytest
import torch

from pairedit.data.images import to_image
from pairedit.legs import Slider, cut
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.pictures.metadata import metadata
from pairedit.sample import generate
from pairedit.schedules import is_schedule, lean_of, strength
from pairedit.settings import Rendering, step_of

STEPS, SKIP = 6, 2


@pytest.mark.parametrize("value", ["flat", "early", "late", 0, -1, 1, 0.25])
def test_words_and_numbers_are_schedules(value):
    assert is_schedule(value)
    assert -1 <= lean_of(value) <= 1


@pytest.mark.parametrize("value", ["soon", 1.5, -2, True, None, float("nan"), [1]])
def test_other_values_are_not(value):
    assert not is_schedule(value)


def test_early_falls_to_nothing_and_late_rises_from_it():
    def over(lean):
        return [strength(lean, step, 2, 7) for step in range(2, 7)]

    assert over(lean_of("early")) == pytest.approx([2, 1.5, 1, 0.5, 0])
    assert over(lean_of("late")) == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert over(lean_of("flat")) == [1] * 5
    assert over(0.5) == pytest.approx([1.5, 1.25, 1, 0.75, 0.5])
    assert strength(1.0, 6, 6, 7) == 1, "a single step has no early or late"
    assert all(sum(over(lean)) == pytest.approx(5) for lean in (-1, 0.3, 1))


def test_each_slider_has_its_own_schedule(lora):
    sliders = [
        Slider(lora=lora, scales=(0.0, 0.5), skip=2, lean=1.0),
        Slider(lora=lora, scales=(0.0, 0.5), skip=4),
    ]
    sigmas = torch.linspace(1, 0, STEPS + 1)
    rendering = Rendering(num_inference_steps=STEPS)
    legs = cut(sliders, [(0.0, 0.0), (0.5, 0.5)], rendering, sigmas)
    assert [(leg.begin, leg.end) for leg in legs] == [(2, 3), (3, 4), (4, 5), (5, 6)]
    assert all(leg.scales[0] == {} for leg in legs)
    firsts = [leg.scales[1]["slider_0"] for leg in legs]
    assert firsts == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    assert [leg.scales[1].get("slider_1") for leg in legs] == [None, None, 0.5, 0.5]


def test_flat_sliders_are_not_cut_at_every_step(lora):
    sigmas = torch.linspace(1, 0, STEPS + 1)
    sliders = [Slider(lora=lora, scales=(0.5,), skip=SKIP)]
    legs = cut(sliders, [(0.5,)], Rendering(num_inference_steps=STEPS), sigmas)
    assert [(leg.begin, leg.end) for leg in legs] == [(SKIP, STEPS)]


@torch.no_grad()
def test_a_scheduled_rendering_is_the_naive_loop(flux, lora):
    from pairedit.bases.base import velocity

    slider = Slider(lora=lora, scales=(0.0, 0.8), lean=-0.5)
    rendering = Rendering(skip=SKIP, num_inference_steps=STEPS, size=(32, 32))
    samples = list(generate(flux, sliders=[slider], prompts=[""], seeds=[5], rendering=rendering))
    adapters = Adapters(flux)
    adapters.load("x", lora)
    sigmas = flux.sigmas((32, 32), STEPS)
    first = step_of(SKIP, sigmas)
    x = flux.noise(5, (32, 32))[None]
    for step in range(STEPS):
        scale = 0.8 * strength(-0.5, step, first, STEPS) if step >= first else 0.0
        with adapters.rows([Row(scales={"x": scale})]):
            v = velocity(flux, x, sigmas[step], flux.text([""]), 3.5)
        x = x + (sigmas[step + 1] - sigmas[step]) * v
    adapters.remove()
    expected = np.asarray(to_image(flux.decode(x)[0])).astype(int)
    assert abs(np.asarray(samples[1].image).astype(int) - expected).max() <= 1
    notes = metadata(samples[1], [slider], {})
    assert notes["lora.0.schedule"] == "-0.5"
    assert "lora.0.local" not in notes

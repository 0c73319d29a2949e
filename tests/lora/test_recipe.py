"""The recipe of docs/comfyui.md for plain diffusers gives our images."""

import re
from pathlib import Path

import numpy as np
import pytest
from diffusers import FluxPipeline

from pairedit.bases.flux1.names import NAMES
from pairedit.lora.file import write_lora
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import strong_lora

PAGE = Path(__file__).parents[2] / "docs/comfyui.md"
STEPS, SIZE = 6, (32, 32)


def recipe(sliders) -> str:
    """Return the page's lines with our steps and sliders."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    code, steps = re.subn(r"^steps = 28$", f"steps = {STEPS}", code, flags=re.M)
    code, lists = re.subn(r"^sliders = \[.*\]$", f"sliders = {sliders!r}", code, flags=re.M)
    assert (steps, lists) == (1, 1)
    return code


# Of peft, where a second LoRA is loaded.
@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute")
@pytest.mark.parametrize(
    "numbers",
    [
        [(0.8, 0, 0.0)],
        [(0.8, 2, 1.0)],
        [(0.8, STEPS - 1, -1.0)],
        [(0.7, 3, 0.0), (-0.6, 1, 0.5)],
    ],
)
def test_plain_diffusers_draws_our_image(numbers, flux, tiny_flux_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours, theirs = [], []
    for index, (scale, skip, lean) in enumerate(numbers):
        lora = strong_lora(flux, tmp_path / f"{index}.safetensors", seed=index)
        write_lora(lora.path, lora.weights, {}, names=NAMES)
        ours.append(Slider(lora=lora, scales=(scale,), skip=skip, lean=lean))
        theirs.append((f"s{index}", lora.path.name, scale, skip, lean))
    rendering = Rendering(skip=0, num_inference_steps=STEPS, guidance_scale=3.5, size=SIZE)
    drawn = generate(flux, sliders=ours, prompts=["a person"], seeds=[3], rendering=rendering)
    (sample,) = list(drawn)
    (plain,) = generate(flux, sliders=[], prompts=["a person"], seeds=[3], rendering=rendering)
    pipe = FluxPipeline.from_pretrained(tiny_flux_folder)
    pipe.set_progress_bar_config(disable=True)
    call = type(pipe).__call__

    def sized(self, *args, **more):
        height, width = SIZE
        return call(self, *args, height=height, width=width, max_sequence_length=32, **more)

    monkeypatch.setattr(type(pipe), "__call__", sized)
    names = {"pipe": pipe, "prompt": "a person"}
    exec(recipe(theirs), names)
    image, base = (np.asarray(i).astype(int) for i in (names["image"], plain.image))
    assert np.abs(np.asarray(sample.image).astype(int) - image).max() <= 1
    assert np.abs(base - image).max() > 8

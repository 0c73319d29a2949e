"""What the pages promise holds on flux-mini, as the probe reads it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from composing import composed
from pairedit.bases.flux1.load import load
from pairedit.data.examples import Single
from pairedit.data.images import load_image, to_tensor
from pairedit.data.sets import TextDataset
from pairedit.edits import Photo, RealImage
from pairedit.files import locate
from pairedit.lora.file import LoraFile, read_lora
from pairedit.methods import Inversion, TextSlider
from pairedit.mini.faces import INDEX
from pairedit.mini.probe import read
from pairedit.noising import Rectified
from pairedit.plan.build import build
from pairedit.plan.parse import choose_prompts, parse_prompts
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training
from pairedit.train import fit

SMILE = INDEX["smile"]
COMMON = {"num_inference_steps": 28, "guidance_scale": 3.5, "size": (128, 128)}
SHORT = COMMON | {"num_inference_steps": 14}  # where half the steps show the same
PERSON = {"prompts": ["image of a person"], "seeds": [0]}


@pytest.fixture
def lora(smile) -> LoraFile:
    return read_lora(smile)


def halves(lora: LoraFile) -> LoraFile:
    """Keep half the ranks of a LoRA: much the same edit, weaker."""
    weights = {
        module: (down[: len(down) // 2], up[:, : len(down) // 2])
        for module, (down, up) in lora.weights.items()
    }
    return replace(lora, weights=weights)


def pixels(samples) -> dict[tuple, np.ndarray]:
    return {(s.seed, *s.scales): np.asarray(s.image).astype(int) for s in samples}


def smiles(images: list[np.ndarray]) -> torch.Tensor:
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
    return read(batch.float())[:, SMILE]


def test_a_slider_edits_a_photograph_both_ways_and_continuously(mini, lora):
    path = locate("pkg://data/real/220.png")
    scales = (-0.6, 0.0, 0.01, 0.6)
    samples = generate(
        mini,
        sliders=[Slider(lora=lora, scales=scales)],
        prompts=[""],
        seeds=[None],
        rendering=Rendering(skip=5, **SHORT),
        edit=RealImage(inversion="ode"),
        photos=[Photo(path=path, image=load_image(path, (128, 128)))],
    )
    less, zero, near, more = pixels(samples).values()
    assert 0 < abs(near - zero).max() < 12
    read_off = smiles([less, zero, more])
    assert read_off[0] < read_off[1] < read_off[2]
    assert float(read_off[2] - read_off[1]) > 0.05


@pytest.mark.heavy
def test_eighty_steps_lead_any_noise_towards_a_photograph(mini, tmp_path):
    path = locate("pkg://data/real/220.png")
    files = fit(
        base=mini,
        method=Inversion(noising=Rectified()),
        pairs=[Single(path=path)],
        settings=Training(steps=80, size=(128, 128)),
        folder=tmp_path,
        run=Silent(),
        metadata={},
    )
    image = load_image(path, (128, 128))

    def decibel(content, edit):
        photos = [Photo(path=path, image=image, content=content)] if content else []
        at = Rendering(skip=0, **COMMON)
        common = {"sliders": [], "prompts": [""], "seeds": [1], "rendering": at}
        (sample,) = generate(mini, edit=edit, photos=photos, **common)
        error = ((to_tensor(sample.image) - to_tensor(image)) / 2).square().mean()
        return float(-10 * error.log10())

    found = decibel(read_lora(files["content"]), RealImage(inversion="lora"))
    assert found > decibel(None, None) + 5


@pytest.mark.heavy
def test_sliders_of_different_ranks_add_up_in_a_grid(mini, lora):
    across, down = (0.0, 0.3, 0.0, 0.3), (0.0, 0.0, 0.3, 0.3)
    sliders = [Slider(lora=lora, scales=across), Slider(lora=halves(lora), scales=down, skip=7)]
    samples = generate(mini, sliders=sliders, rendering=Rendering(skip=5, **SHORT), **PERSON)
    values = smiles(list(pixels(samples).values()))
    base, right, below, both = values
    assert base < min(right, below)
    assert both > max(right, below)


def test_the_later_a_slider_sets_in_the_less_it_changes(mini, lora):
    skips = (5, 9, 12)
    columns = {skip: tuple(0.6 * (skip == other) for other in (None, *skips)) for skip in skips}
    sliders = [Slider(lora=lora, scales=columns[skip], skip=skip) for skip in skips]
    samples = generate(mini, sliders=sliders, rendering=Rendering(skip=0, **SHORT), **PERSON)
    zero, *others = pixels(samples).values()
    first, middle, last = (abs(other - zero).mean() for other in others)
    assert first > middle > last > 0


def test_each_seed_draws_its_shipped_prompt(mini):
    drawn = choose_prompts(parse_prompts(None, "person_mini", ""), range(24), "one")
    long, short = (
        [seed for seed, prompt in drawn.items() if f"{word} hair" in prompt][:1]
        for word in ("long", "short")
    )
    chosen = {seed: drawn[seed] for seed in [*long, *short]}
    assert len(chosen) == 2
    samples = generate(
        mini, sliders=[], prompts=chosen, seeds=list(chosen), rendering=Rendering(skip=0, **SHORT)
    )
    lengths = {
        s.seed: float(read(to_tensor(s.image)[None])[0, INDEX["hair_length"]]) for s in samples
    }
    assert min(lengths[seed] for seed in long) > max(lengths[seed] for seed in short)


@pytest.mark.heavy
def test_flux_mini_learns_age_from_words(tmp_path):
    """Both ways: older at a positive scale, younger at a negative one."""
    mini = load(
        str(locate("pkg://flux_mini")), device="cpu", precision="float32", max_sequence_length=32
    )
    data = build(composed("train", "dataset=text_age").datasets.text_age, "x", TextDataset)
    examples = data.read()["text_age"]
    files = fit(
        base=mini,
        method=TextSlider(),
        pairs=examples,
        settings=Training(steps=16, size=(128, 128), end_step=6),
        folder=tmp_path,
        run=Silent(),
        metadata={},
    )
    samples = generate(
        mini,
        sliders=[Slider(lora=read_lora(files["semantic"]), scales=(-1.0, 0.0, 1.0))],
        prompts=[examples[0].target],
        seeds=range(1000, 1004),
        rendering=Rendering(skip=2, **SHORT),
    )
    values = read(torch.stack([to_tensor(sample.image) for sample in samples]))
    younger, base, older = values.unflatten(0, (4, 3))[..., INDEX["age"]].mean(0)
    assert younger + 0.02 < base < older - 0.02

"""Photographs end to end: scale 0 is the reconstruction, small scales stay near it."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch

from pairedit.bases.base import velocity
from pairedit.bases.flux1.load import load
from pairedit.data.images import load_image, to_image, to_tensor
from pairedit.edits import Photo, RealImage
from pairedit.files import locate
from pairedit.lora.rows import Row
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import attached, picture, running, strong_lora

WAYS = {
    "ode": RealImage(inversion="ode", iterations=8),  # a random model is steep
    "lora": RealImage(inversion="lora"),
    "both": RealImage(inversion="both", iterations=8),
    "published": RealImage(inversion="lora", published=True, semantic_cfg_scale=0.75),
}


@pytest.fixture
def photos(flux, tmp_path):
    """Two photographs, each with a content LoRA that changes the image a little."""
    found = []
    for index, name in enumerate(("610", "1743")):
        path = picture(tmp_path / "photos" / f"{name}.png", index)
        lora = strong_lora(flux, tmp_path / name / "content.safetensors", seed=7 + index)
        weak = {module: (down, 0.3 * up) for module, (down, up) in lora.weights.items()}
        content = replace(lora, weights=weak)
        found.append(Photo(path=path, image=load_image(path, (32, 32)), content=content))
    return found


def render(flux, photos, way, sliders, *, batch_size=8, **changes):
    """Render as int arrays by name and scales."""
    at = Rendering(skip=1, num_inference_steps=4, size=(32, 32))
    samples = generate(
        running(flux, batch_size=batch_size),
        sliders=sliders,
        prompts=[""],
        seeds=[None if WAYS[way].inversion in ("ode", "both") else 3],
        edit=WAYS[way],
        photos=[Photo(path=p.path, image=p.image) for p in photos] if way == "ode" else photos,
        rendering=replace(at, **changes),
    )
    return {(s.photo.name, s.scales): np.asarray(s.image).astype(int) for s in samples}


@pytest.mark.parametrize("way", WAYS)
def test_scale_zero_is_the_reconstruction_and_both_signs_edit(flux, photos, lora, way):
    scales = (-0.5, 0.0, 0.5)
    found = render(flux, photos, way, [Slider(lora=lora, scales=scales)])
    assert list(found) == [(photo.name, (scale,)) for photo in photos for scale in scales]
    plain = render(flux, photos, way, [])
    for photo in photos:
        below, zero, above = (found[photo.name, (scale,)] for scale in scales)
        assert abs(zero - plain[photo.name, ()]).max() <= 1
        for left, right in ((below, zero), (zero, above), (below, above)):
            assert abs(left - right).max() > 4
        if WAYS[way].inversion != "lora":
            latents = flux.encode(to_tensor(photo.image)[None]).mean
            alone = np.asarray(to_image(flux.decode(latents)[0])).astype(int)
            assert abs(zero - alone).max() <= 2, "its own noise leads back to the photograph"


@pytest.mark.parametrize("way", WAYS)
def test_only_the_published_formula_jumps_at_zero(flux, photos, lora, way):
    found = render(flux, photos, way, [Slider(lora=lora, scales=(-1e-4, 0.0, 1e-4))])
    for photo in photos:
        zero = found[photo.name, (0.0,)]
        moved = max(abs(found[photo.name, (s,)] - zero).max() for s in (-1e-4, 1e-4))
        assert (moved > 4) == (way == "published"), moved


def test_photographs_do_not_influence_each_other(flux, photos, lora):
    slider = [Slider(lora=lora, scales=(0.0, 0.5))]
    together = render(flux, photos, "both", slider, batch_size=16)
    for photo in photos:
        for key, image in render(flux, [photo], "both", slider, batch_size=1).items():
            assert abs(together[key] - image).max() <= 1


def test_where_the_slider_sets_in_does_not_change_the_reconstruction(flux, photos):
    early, late = (render(flux, photos, "ode", [], skip=skip) for skip in (0, 3))
    for key, image in early.items():
        assert abs(late[key] - image).max() <= 2


@torch.no_grad()
def naive(flux, adapters, scales, skips, seed, prompt):
    """Edit one photograph alone, from a seed's noise, term by term as the formula says."""
    sigmas, text = flux.sigmas((32, 32), 4), flux.text([prompt])
    x = flux.noise(seed, (32, 32))[None]
    for step in range(4):

        def under(on, x=x, step=step):
            with adapters.rows([Row(scales=on)]):
                return velocity(flux, x, sigmas[step], text, 3.5)

        on = {f"s{i}": scale for i, scale in enumerate(scales) if step >= skips[i]}
        v = under({"c": 1.0}) + under(on) - under({})
        x = x + (sigmas[step + 1] - sigmas[step]) * v
    return np.asarray(to_image(flux.decode(x)[0])).astype(int)


def test_sliders_edit_a_photograph_each_from_its_own_skip_on(flux, photos, lora, tmp_path):
    other = strong_lora(flux, tmp_path / "other.safetensors", seed=9, rank=5)
    columns = [(0.0, 0.0), (0.4, 0.0), (0.0, -0.6), (0.4, -0.6)]
    sliders = [
        Slider(lora=lora, scales=tuple(a for a, _ in columns), skip=3),
        Slider(lora=other, scales=tuple(b for _, b in columns), unit=0.5),
    ]
    prompts = {3: "old", 5: "young"}
    batched, single = (
        list(
            generate(
                running(flux, batch_size=batch_size),
                sliders=sliders,
                prompts=prompts,
                seeds=[3, 5],
                rendering=Rendering(skip=1, num_inference_steps=4, size=(32, 32)),
                edit=WAYS["lora"],
                photos=photos,
            )
        )
        for batch_size in (16, 1)
    )
    order = [(p.name, seed, c) for p in photos for seed in prompts for c in columns]
    for samples in (batched, single):
        assert [(s.photo.name, s.seed, s.scales) for s in samples] == order
    by_photo = groupby(zip(batched, single, strict=True), key=lambda both: both[0].photo.name)
    for photo, (_, both) in zip(photos, by_photo, strict=True):
        with attached(flux, {"c": photo.content, "s0": lora, "s1": other}) as adapters:
            for sample, alone in both:
                scales = (sample.scales[0], 0.5 * sample.scales[1])
                expected = naive(flux, adapters, scales, (3, 1), sample.seed, sample.prompt)
                for found in (sample, alone):
                    assert found.prompt == prompts[found.seed]
                    difference = np.asarray(found.image).astype(int) - expected
                    assert abs(difference).max() <= 1, found.scales
            if photo is photos[0]:
                late = naive(flux, adapters, (0.4, -0.3), (2, 1), 3, "old")
    assert abs(np.asarray(batched[3].image).astype(int) - late).max() > 4, "a step more shows"


@pytest.mark.parametrize(
    "path",
    [pytest.param("real/610.png", marks=pytest.mark.heavy), "real_photo/astronaut.png"],
)
def test_flux_mini_leads_back_to_a_photograph(path):
    """Also to one of a real person, which it could never have drawn."""
    mini = load(
        str(locate("pkg://flux_mini")), device="cpu", precision="float32", max_sequence_length=32
    )
    path = locate(f"pkg://data/{path}")
    photo = Photo(path=path, image=load_image(path, (128, 128)))
    (sample,) = generate(
        mini,
        sliders=[],
        prompts=[""],
        seeds=[None],
        rendering=Rendering(skip=11, num_inference_steps=28, guidance_scale=3.5, size=(128, 128)),
        edit=RealImage(inversion="ode"),
        photos=[photo],
    )
    latents = mini.encode(to_tensor(photo.image)[None]).mean
    alone = mini.decode(latents)[0].clamp(-1, 1)
    error = ((to_tensor(sample.image) - alone) / 2).square().mean()
    assert float(-10 * torch.log10(error)) > 45

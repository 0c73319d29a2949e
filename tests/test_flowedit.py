"""FlowEdit with a slider: the equations, scale 0, noises, batches, photographs, progress."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pairedit import sample
from pairedit.bases.base import velocity
from pairedit.data.images import load_image, to_tensor
from pairedit.data.masks import Mask
from pairedit.edits import Photo, RealImage
from pairedit.flowedit import noise_of
from pairedit.local import share
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora, write_lora
from pairedit.lora.rows import Row
from pairedit.sample import Slider, generate
from pairedit.schedules import strength
from pairedit.settings import Rendering
from tiny import SCALES, SIDE, SIZE, SKIP, STEPS, picture, render, running


def same(left, right):
    return list(left) == list(right) and all(np.array_equal(left[k], right[k]) for k in left)


@pytest.fixture
def slider(lora):
    return Slider(lora=lora, scales=SCALES, flowedit=True)


@pytest.fixture
def photo(tmp_path):
    path = picture(tmp_path / "a.png", side=SIDE)
    return Photo(path=path, image=load_image(path, SIZE))


def loop(flux, lora, zero, scale, seed, *, local=False, lean=0.0):
    """Write the equations down once more."""
    adapters, sigmas, text = Adapters(flux), flux.sigmas(SIZE, STEPS), flux.text(["old"])
    adapters.load("x", lora)
    changed = torch.zeros_like(zero)
    for step in range(SKIP, STEPS):
        sigma = sigmas[step]
        z = (1 - sigma) * zero + sigma * noise_of(flux, seed, step, SIZE)[None]
        with adapters.rows([Row(scales={"x": scale * strength(lean, step, SKIP, STEPS)})]):
            edited = velocity(flux, z + changed, sigma, text, 3.5)
        with adapters.rows([Row()]):
            still = velocity(flux, z, sigma, text, 3.5)
        changed = changed + (sigmas[step + 1] - sigma) * (edited - still)
        changed = share(changed) * changed if local else changed
    adapters.remove()
    return zero + changed


@torch.no_grad()
@pytest.mark.parametrize("more", [{}, {"lean": -0.5}, {"lean": 1.0}, {"local": True}])
def test_a_rendering_is_the_equations(flux, lora, slider, more):
    rows = []
    render(flux, [replace(slider, scales=(0.0, 1.0), **more)], seeds=[3], latents=rows)
    expected = loop(flux, lora, rows[0][None], 1.0, 3, **more)
    assert (rows[1] - rows[0]).abs().max() > 0.01
    torch.testing.assert_close(rows[1], expected[0], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_photograph_is_edited_as_it_is_encoded(flux, lora, slider, photo):
    rows = []
    render(flux, [replace(slider, scales=(0.0, 1.0))], photos=[photo], latents=rows)
    encoded = flux.encode(to_tensor(photo.image)[None]).mean
    torch.testing.assert_close(rows[0][None], encoded)
    torch.testing.assert_close(
        rows[1], loop(flux, lora, encoded, 1.0, None)[0], rtol=1e-3, atol=1e-3
    )


@torch.no_grad()
def test_a_content_lora_and_the_weight_keep_their_meaning(flux, loras, photo):
    first, second = loras
    rows, sigmas, text = [], flux.sigmas(SIZE, STEPS), flux.text(["old"])
    render(
        flux,
        [Slider(lora=first, scales=(0.0, 1.0), flowedit=True)],
        photos=[replace(photo, content=second)],
        edit=RealImage(inversion="both", semantic_cfg_scale=0.5),
        latents=rows,
    )
    adapters, moved = Adapters(flux), torch.zeros_like(rows[0][None])
    adapters.load("s", first)
    adapters.load("c", second)
    for step in range(SKIP, STEPS):

        def v(latents, step=step, **scales):
            with adapters.rows([Row(scales=scales)]):
                return velocity(flux, latents, sigmas[step], text, 3.5)

        z = (1 - sigmas[step]) * rows[0] + sigmas[step] * noise_of(flux, None, step, SIZE)
        z = z[None]
        edited = v(z + moved, c=1.0) + 0.5 * (v(z + moved, s=1.0) - v(z + moved))
        moved = moved + (sigmas[step + 1] - sigmas[step]) * (edited - v(z, c=1.0))
    adapters.remove()
    torch.testing.assert_close(rows[1], rows[0] + moved[0], rtol=1e-3, atol=1e-3)


def test_scale_0_is_the_plain_picture_and_others_are_not(flux, slider):
    edited, plain = render(flux, [slider]), render(flux, [replace(slider, flowedit=False)])
    for seed in (3, 1):
        # Passes of other sizes round otherwise on some processors.
        apart = edited[seed, (0.0,)].astype(int) - plain[seed, (0.0,)]
        assert abs(apart).max() <= 1
        assert abs(edited[seed, (1.0,)] - plain[seed, (1.0,)]).max() > 2


@pytest.mark.parametrize("local", [False, True])
def test_how_rows_are_cut_changes_no_image(flux, slider, local):
    slider = replace(slider, local=local)
    whole = render(flux, [slider])
    for batch_size in (1, 3, 5):
        parts = render(flux, [slider], batch_size=batch_size)
        assert list(parts) == list(whole)
        assert all(abs(parts[key] - whole[key]).max() <= 1 for key in whole), batch_size


def test_other_scales_and_lanes_change_no_image(flux, slider):
    whole = render(flux, [slider])
    for scales in ((1.0,), (0.5, 1.0), (1.0, 0.0)):
        few = render(flux, [replace(slider, scales=scales)], seeds=[1])
        assert list(few) == [(1, (scale,)) for scale in scales], "scale 0 is not shown unasked"
        assert all(abs(few[key] - whole[key]).max() <= 1 for key in few)


def test_noises_are_of_seed_and_step_alone(flux):
    known = [noise_of(flux, seed, step, SIZE) for seed in (None, 0, 1) for step in (2, 3)]
    assert all(
        torch.equal(a, b) == (i == j) for i, a in enumerate(known) for j, b in enumerate(known)
    )
    assert torch.equal(known[0], noise_of(flux, None, 2, SIZE))
    assert not torch.equal(known[2], flux.noise(0, SIZE)), "that of the picture itself is another"


def test_a_slider_of_weight_zero_changes_nothing(flux, lora, slider, tmp_path):
    path = tmp_path / "zero.safetensors"
    write_lora(path, {k: (d, torch.zeros_like(u)) for k, (d, u) in lora.weights.items()}, {})
    for local in (False, True):
        nothing = replace(slider, lora=read_lora(path), scales=(0.0, 1.0, 7.0), local=local)
        found = render(flux, [nothing], seeds=[3])
        assert np.array_equal(found[3, (1.0,)], found[3, (0.0,)])
        assert np.array_equal(found[3, (7.0,)], found[3, (0.0,)])


def test_outside_of_a_mask_a_photograph_is_as_it_comes_back(flux, slider, photo, tmp_path):
    drawn = Image.new("L", (SIDE, SIDE))
    drawn.paste(255, (0, 0, SIDE // 2, SIDE))
    masked = replace(photo, mask=Mask(path=tmp_path, drawn=drawn, own=drawn))
    rows = []
    found = render(flux, [slider], photos=[masked], latents=rows)
    zero, edited = found[None, (0.0,)], found[None, (1.0,)]
    assert np.array_equal(zero[:, SIDE // 2 :], edited[:, SIDE // 2 :])
    assert abs(zero - edited).max() > 2
    half = rows[0].shape[-1] // 2
    assert all(torch.equal(row[..., half:], rows[0][..., half:]) for row in rows)


def test_sliders_act_together_each_from_its_own_step(flux, loras):
    first, second = loras
    scales = ((0.0, 1.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0))
    both = [
        Slider(lora=first, scales=scales[0], flowedit=True, skip=3),
        Slider(lora=second, scales=scales[1], flowedit=True, lean=1.0),
    ]
    found = render(flux, both, seeds=[3])
    alone = render(flux, [replace(both[0], scales=(0.0, 1.0))], seeds=[3])
    assert abs(found[3, (1.0, 0.0)] - alone[3, (1.0,)]).max() <= 1
    assert abs(found[3, (1.0, 1.0)] - alone[3, (1.0,)]).max() > 2
    usual = render(flux, [replace(slider, flowedit=False) for slider in both], seeds=[3])
    mixed = render(flux, [both[0], replace(both[1], flowedit=False)], seeds=[3])
    assert same(mixed, usual), "all or none"


@pytest.mark.parametrize("batch_size", [1, 4, 16])
@pytest.mark.parametrize("real", [False, True])
def test_the_bar_counts_every_pass(flux, slider, photo, monkeypatch, batch_size, real):
    bars = []
    bar = sample._bar

    def kept(total, *, shown):
        bars.append((total, bar(total, shown=shown)))
        done = []
        monkeypatch.setattr(bars[-1][1], "update", done.append)
        bars.append(done)
        return bars[0][1]

    monkeypatch.setattr(sample, "_bar", kept)
    early = replace(slider, scales=(0.5, 1.0), lean=1.0)
    render(flux, [early], batch_size=batch_size, photos=[photo] if real else ())
    (total, _), done = bars
    lanes, trunk = (1, 0) if real else (2, STEPS)
    assert sum(done) == total
    assert total == lanes * (trunk + (STEPS - SKIP) * 3)


def test_mixed_shapes_have_noises_of_their_own(flux, slider, photo, tmp_path):
    path = picture(tmp_path / "b.png", seed=1, side=32)
    small = Photo(path=path, image=load_image(path, (32, 32)), label="b")
    alone = render(flux, [slider], photos=[small])
    both = list(
        generate(
            running(flux, batch_size=16),
            sliders=[slider],
            prompts=["old"],
            seeds=[None],
            rendering=Rendering(skip=SKIP, num_inference_steps=STEPS, size=SIZE),
            photos=[photo, small],
            edit=RealImage(inversion="ode"),
        )
    )
    found = {s.scales: np.asarray(s.image).astype(int) for s in both if s.photo is small}
    assert all(abs(found[scales] - alone[None, scales]).max() <= 1 for scales in found)

"""Local sampling: the picture of scale 0 where a slider changes little, however rows are cut."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from pairedit import local
from pairedit.bases.base import velocity
from pairedit.data.images import load_image
from pairedit.edits import Photo
from pairedit.local import FLOOR, share
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.sample import Slider
from tiny import SCALES, SIDE, SIZE, SKIP, STEPS, picture, render


def test_what_changes_little_is_not_kept():
    change = torch.zeros(2, 4, 16, 16)
    change[0, :, 4:9, 4:9] = 3.0
    change[0, :, 12:, 12:] = 0.9 * FLOOR * 3.0
    kept = share(change)
    assert kept.shape == (2, 1, 16, 16)
    assert (kept[0, 0, 5:8, 5:8] == 1).all()
    assert (kept[0, 0, 11:] == 0).all()
    assert (kept[0, 0, 3, 4:9] < 1).all()
    assert (kept[0, 0, 3, 4:9] > 0).all(), "the edge is soft"
    assert (kept[1] == 0).all(), "nothing changes there"
    torch.testing.assert_close(share(change * 0.01), kept), "small scales are treated alike"


@pytest.fixture
def strict(monkeypatch):
    """Drop more: the LoRAs here are random, and change the picture everywhere."""
    monkeypatch.setattr(local, "FLOOR", 0.8)


def in_part(edited, zero):
    """Say that latents [C, h, w] are those at scale 0 in one part, bit for bit, and differ else."""
    same = (edited == zero).all(0)
    return bool(same.any()) and not bool(same.all())


@torch.no_grad()
@pytest.mark.usefixtures("strict")
def test_local_is_the_formula_step_by_step(flux, lora):
    rows = []
    render(flux, [Slider(lora=lora, scales=(0.0, 1.0), local=True)], seeds=[3], latents=rows)
    adapters = Adapters(flux)
    adapters.load("x", lora)
    sigmas, text = flux.sigmas(SIZE, STEPS), flux.text(["old"])
    zero = edited = flux.noise(3, SIZE)[None]
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        with adapters.rows([Row()]):
            zero_next = zero + (following - sigma) * velocity(flux, zero, sigma, text, 3.5)
        with adapters.rows([Row(scales={"x": float(step >= SKIP)})]):
            moved = edited + (following - sigma) * velocity(flux, edited, sigma, text, 3.5)
        kept = share(moved - zero_next) if step >= SKIP else 0.0
        zero, edited = zero_next, kept * moved + (1 - kept) * zero_next
    adapters.remove()
    torch.testing.assert_close(rows[1], edited[0], rtol=1e-3, atol=1e-3)
    assert in_part(rows[1], rows[0])


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_rows_that_run_apart_from_their_scale_0_give_the_same(flux, lora, batch_size):
    sliders = [Slider(lora=lora, scales=SCALES, local=True)]
    whole, parts = render(flux, sliders), render(flux, sliders, batch_size=batch_size)
    assert list(whole) == list(parts) == [(s, (c,)) for s in (3, 1) for c in SCALES]
    for key, image in whole.items():
        assert abs(image - parts[key]).max() <= 1, key


def test_scale_0_need_not_be_asked_for(flux, lora):
    every = render(flux, [Slider(lora=lora, scales=SCALES, local=True)])
    some = render(flux, [Slider(lora=lora, scales=(1.0, 0.5), local=True)])
    assert list(some) == [(s, (c,)) for s in (3, 1) for c in (1.0, 0.5)]
    for key, image in some.items():
        assert abs(image - every[key]).max() <= 1, "other scales change no image"


def test_scale_0_stays_the_base_and_local_matters(flux, lora):
    kept = render(flux, [Slider(lora=lora, scales=SCALES, local=True)])
    plain = render(flux, [Slider(lora=lora, scales=SCALES)])
    for seed in (3, 1):
        assert np.array_equal(kept[seed, (0.0,)], plain[seed, (0.0,)])
        assert abs(kept[seed, (1.0,)] - plain[seed, (1.0,)]).max() > 2


def test_a_column_is_local_if_all_that_act_in_it_are(flux, loras):
    first, second = loras
    both = [
        Slider(lora=first, scales=(0.0, 0.5, 0.0, 0.5), local=True, skip=3),
        Slider(lora=second, scales=(0.0, 0.0, 0.5, 0.5)),
    ]
    mixed, plain = render(flux, both), render(flux, [replace(s, local=False) for s in both])
    for seed in (3, 1):
        same = {c: np.array_equal(mixed[seed, c], plain[seed, c]) for _, c in mixed}
        assert same == {(0.0, 0.0): True, (0.5, 0.0): False, (0.0, 0.5): True, (0.5, 0.5): True}


@pytest.mark.usefixtures("strict")
def test_photographs_keep_their_reconstruction(flux, lora, tmp_path):
    path = picture(tmp_path / "a.png", side=SIDE)
    photo = Photo(path=path, image=load_image(path, SIZE))
    rows = []
    sliders = [Slider(lora=lora, scales=(0.5, 0.0), local=True)]
    render(flux, sliders, photos=[photo], latents=rows)
    zero, edited = rows  # the row at scale 0 runs first
    assert in_part(edited, zero)


def test_anything_that_grows_out_of_nothing_moves_evenly(flux, lora):
    """A small scale moves the picture by little: no jump off 0."""
    found = render(flux, [Slider(lora=lora, scales=(0.0, 1e-3, 1.0), local=True)])
    for seed in (3, 1):
        assert abs(found[seed, (1e-3,)] - found[seed, (0.0,)]).max() <= 1

"""Local in pixels: a finished picture is that of scale 0 to the byte where it differs little."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pairedit import local
from pairedit.data.images import load_image, to_image, to_tensor
from pairedit.edits import Photo
from pairedit.local import kept
from pairedit.sample import Slider
from tiny import SCALES, SIDE, SIZE, picture, render


def masked(image, zero):
    """Bring a picture in bytes back to that at scale 0."""
    left, right = (torch.from_numpy(each / 127.5 - 1).permute(2, 0, 1) for each in (image, zero))
    return np.asarray(to_image(kept(left, right))).astype(int)


def assert_masked(found, plain, zero):
    """Say that a picture is the plain one, masked, but for what eight bits cannot hold."""
    expected = masked(plain, zero)
    assert abs(found - expected).max() <= 5
    assert abs(found - expected).mean() < 0.2
    same = (found == zero).all(-1)
    assert 0.02 < same.mean() < 0.98, "one part is that of scale 0"
    assert abs(plain - zero)[same].max() > 0, "which the slider had changed"


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """Drop more: the LoRAs here are random, and change the picture everywhere."""
    monkeypatch.setattr(local, "PIXEL_FLOOR", 0.6)


def test_what_changes_little_is_taken_back_bit_for_bit(monkeypatch):
    monkeypatch.setattr(local, "PIXEL_FLOOR", 0.2)
    zero = to_tensor(to_image(torch.rand(3, 128, 128) * 1.6 - 0.8))
    image = zero + 0.01
    image[:, 30:60, 30:60] = zero[:, 30:60, 30:60] + 0.1
    found = kept(image, zero)
    assert torch.equal(found[:, :28], zero[:, :28])
    assert torch.equal(found[:, 62:], zero[:, 62:])
    torch.testing.assert_close(found[:, 32:58, 32:58], image[:, 32:58, 32:58])
    edge = (found - zero)[0, 45, 28:34]
    assert (edge.diff() >= -1e-6).all()
    assert ((edge > 1e-3) & (edge < 0.01)).sum() == 2, "the edge is soft"
    # A tenth of the change has the same mask, so that a row moves evenly.
    tenth = kept(zero + 0.1 * (image - zero), zero)
    torch.testing.assert_close(10 * (tenth - zero), found - zero, atol=1e-5, rtol=0)
    assert torch.equal(kept(zero, zero), zero)


def test_what_no_screen_shows_is_no_change():
    zero = torch.full((3, 64, 64), 1.0)
    assert torch.equal(kept(zero + 3 * torch.rand_like(zero), zero), zero)


@pytest.mark.parametrize("factor", [4, 8])
def test_the_mask_grows_with_the_picture(monkeypatch, factor):
    monkeypatch.setattr(local, "PIXEL_FLOOR", 0.2)
    zero, image = torch.zeros(3, 128, 128), torch.full((3, 128, 128), 0.05)
    image[:, 30:60, 40:90] = 0.5
    large = [F.interpolate(each[None], scale_factor=factor)[0] for each in (image, zero)]
    small, found = kept(image, zero), F.avg_pool2d(kept(*large), factor)
    edge = slice(None), slice(28, 30), slice(50, 80)
    assert small[edge].mean() > 0.02, "what is near goes with it"
    torch.testing.assert_close(found[edge].mean(), small[edge].mean(), rtol=0.1, atol=0)
    for each in (small, found):
        assert (each[:, :27] == 0).all()
        assert (each[:, 63:] == 0).all()


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_pixels_alone_are_the_plain_rendering_masked(flux, lora, batch_size):
    plain = render(flux, [Slider(lora=lora, scales=SCALES)])
    found = render(flux, [Slider(lora=lora, scales=SCALES, local="pixels")], batch_size=batch_size)
    assert list(found) == list(plain)
    for seed, scale in product((3, 1), SCALES):
        zero = plain[seed, (0.0,)]
        if scale:
            assert_masked(found[seed, (scale,)], plain[seed, (scale,)], zero)
        else:
            assert abs(found[seed, (0.0,)] - zero).max() <= 1


def test_scale_0_need_not_be_asked_for(flux, lora):
    every = render(flux, [Slider(lora=lora, scales=SCALES, local="pixels")])
    some = render(flux, [Slider(lora=lora, scales=(1.0, 0.5), local="pixels")], batch_size=3)
    assert list(some) == [(s, (c,)) for s in (3, 1) for c in (1.0, 0.5)]
    for key, image in some.items():
        assert abs(image - every[key]).max() <= 1


def test_true_masks_latents_and_pixels(flux, lora, monkeypatch):
    found = render(flux, [Slider(lora=lora, scales=SCALES, local=True)])
    with monkeypatch.context() as patch:
        patch.setattr("pairedit.sample.kept", lambda image, zero: image)
        latents = render(flux, [Slider(lora=lora, scales=SCALES, local=True)])
    plain = render(flux, [Slider(lora=lora, scales=SCALES)])
    for seed in (3, 1):
        at = seed, (1.0,)
        assert_masked(found[at], latents[at], plain[seed, (0.0,)])
        assert abs(latents[at] - plain[at]).max() > 2


def test_several_sliders_have_the_mask_of_all_that_they_change(flux, loras, monkeypatch):
    monkeypatch.setattr(local, "FLOOR", 0.8)
    columns = (0.0, 1.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0)

    def sliders(*ways):
        each = zip(loras, columns, ways, strict=True)
        return [Slider(lora=lora, scales=scales, local=way) for lora, scales, way in each]

    plain = render(flux, sliders(False, False))
    both = render(flux, sliders("pixels", "pixels"))
    mixed = render(flux, sliders("pixels", True))
    half = render(flux, sliders("pixels", False))
    for seed in (3, 1):
        zero, together = plain[seed, (0.0, 0.0)], (1.0, 1.0)
        for column in ((1.0, 0.0), (0.0, 1.0), together):
            assert_masked(both[seed, column], plain[seed, column], zero)
        # Latents are masked only where all that act in a column ask for it.
        assert abs(mixed[seed, together] - both[seed, together]).max() <= 1
        assert abs(mixed[seed, (0.0, 1.0)] - both[seed, (0.0, 1.0)]).max() > 1
        assert np.array_equal(half[seed, together], plain[seed, together])
        assert np.array_equal(half[seed, (0.0, 1.0)], plain[seed, (0.0, 1.0)])


@pytest.mark.parametrize("way", [True, "pixels"])
def test_outside_a_photograph_is_its_reconstruction(flux, lora, tmp_path, way):
    path = picture(tmp_path / "a.png", side=SIDE)
    photo = Photo(path=path, image=load_image(path, SIZE))
    found = render(flux, [Slider(lora=lora, scales=(0.5, 0.0), local=way)], photos=[photo])
    plain = render(flux, [Slider(lora=lora, scales=(0.5, 0.0))], photos=[photo])
    zero, edited = found[None, (0.0,)], found[None, (0.5,)]
    assert abs(zero - plain[None, (0.0,)]).max() <= 1
    same = (edited == zero).all(-1)
    assert 0.02 < same.mean() < 0.98
    assert abs(plain[None, (0.5,)] - zero)[same].max() > 0

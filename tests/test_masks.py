"""Masks: outside nothing changes, to the last pixel; pairs are learnt inside alone."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pairedit.data.images import load_image
from pairedit.data.masks import feathered, photo_mask, read_mask, to_latents
from pairedit.data.shapes import Fit, frame_of
from pairedit.edits import Photo, RealImage
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import draw_mask, noise, picture, running

FIT = Fit(resolution=64, unit=16)


@pytest.fixture
def photo(tmp_path):
    """A tall photograph whose right half is free, twice as large as the model draws it."""
    path = picture(tmp_path / "photo.png", 1)
    Image.open(path).resize((96, 160), Image.Resampling.BICUBIC).save(path)
    mask = draw_mask(tmp_path / "mask.png", (96, 160), (48, 0, 95, 159))
    frame = frame_of(FIT, 96, 160)
    return Photo(
        path=path,
        image=load_image(path, FIT),
        pixels=(96, 160),
        mask=photo_mask(mask, path, frame, 16),
    )


def render(flux, lora, photo, *, local=False, scales=(0.0, 1.0), batch_size=8):
    samples = generate(
        running(flux, batch_size=batch_size),
        sliders=[Slider(lora=lora, scales=scales, local=local)],
        prompts=[""],
        seeds=[None],
        edit=RealImage(inversion="ode"),
        photos=[photo],
        rendering=Rendering(skip=1, num_inference_steps=4, size=(64, 64)),
    )
    return {s.scales[0]: s for s in samples}


@pytest.mark.parametrize("local", [False, True])
def test_outside_of_the_mask_is_the_reconstruction_to_the_last_pixel(flux, lora, photo, local):
    found = render(flux, lora, photo, local=local)
    plain = render(flux, lora, Photo(path=photo.path, image=photo.image), local=local)
    for name, black in (
        ("image", np.asarray(photo.mask.drawn) == 0),
        ("finished", np.asarray(photo.mask.own) == 0),
    ):
        zero, edited = (np.asarray(getattr(found[scale], name)) for scale in (0.0, 1.0))
        assert black.any()
        assert np.array_equal(zero[black], edited[black])
        assert abs(zero[~black].astype(int) - edited[~black]).mean() > 1
    assert np.array_equal(found[0.0].image, plain[0.0].image)
    left = np.asarray(plain[0.0].image)[:, :24].astype(int)
    assert abs(left - np.asarray(plain[1.0].image)[:, :24]).max() > 8, "the mask had to act"
    assert np.asarray(photo.mask.own)[:, :48].max() == 0


def test_latents_outside_are_those_at_scale_0_bit_for_bit(flux, lora, photo):
    base, latents = running(flux), []
    decode = base.decode
    base.decode = lambda some: latents.extend(some) or decode(some)
    samples = generate(
        base,
        sliders=[Slider(lora=lora, scales=(0.0, 1.0))],
        prompts=[""],
        seeds=[None],
        edit=RealImage(inversion="ode"),
        photos=[photo],
        rendering=Rendering(skip=1, num_inference_steps=4, size=(64, 64)),
    )
    list(samples)
    zero, edited = latents
    free = to_latents(photo.mask.drawn, zero.shape[1:])[0] > 0
    assert free.any()
    assert torch.equal(zero[:, ~free], edited[:, ~free])
    assert not torch.equal(zero[:, free], edited[:, free])


def test_scale_0_need_not_be_asked_for_and_batches_do_not_matter(flux, lora, photo):
    whole = render(flux, lora, photo, scales=(0.5, 0.0, 1.0))
    apart = render(flux, lora, photo, scales=(0.5, 1.0), batch_size=1)
    assert list(apart) == [0.5, 1.0]
    for scale, sample in apart.items():
        difference = np.asarray(sample.image).astype(int) - np.asarray(whole[scale].image)
        assert abs(difference).max() <= 1


def test_feathering_goes_inwards_over_one_unit():
    mask = Image.new("L", (128, 96), 0)
    ImageDraw.Draw(mask).rectangle((32, 0, 95, 95), fill=255)
    soft = np.asarray(feathered(mask, 16)).astype(int)
    row = soft[48]
    assert row[:32].max() == row[96:].max() == 0
    assert row[48:80].min() == 255
    assert (np.diff(row[32:49]) >= 0).all()
    assert 100 < row[40] < 155
    anything = noise(0, 128, 96).convert("L")
    assert (np.asarray(feathered(anything, 16)) <= np.asarray(anything)).all()


def test_masks_that_do_not_fit_are_refused(tmp_path):
    photo = picture(tmp_path / "p.png", side=64)
    other = draw_mask(tmp_path / "other.png", (60, 90), (0, 0, 50, 50))
    with pytest.raises(ValueError, match=r"60 x 90 px does not fit p.png of 64 x 64 px") as error:
        read_mask(other, photo)
    assert "\n" not in str(error.value)
    black = draw_mask(tmp_path / "black.png", (64, 64), (0, 0, 9, 9), white=5)
    with pytest.raises(ValueError, match="black everywhere"):
        read_mask(black, photo)
    with pytest.raises(ValueError, match="in colours"):
        read_mask(photo, photo)
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (64, 64), (255, 255, 255, 0)).save(clear)
    with pytest.raises(ValueError, match="transparent parts"):
        read_mask(clear, photo)
    thin = draw_mask(tmp_path / "thin.png", (64, 64), (10, 10, 14, 60))
    with pytest.raises(
        ValueError, match="its white parts are too small; expected one that is 16 px wide"
    ):
        photo_mask(thin, photo, frame_of(FIT, 64, 64), 16)


def test_a_mask_of_the_same_shape_may_have_another_size_and_jpegs_noise_is_black(tmp_path):
    photo = picture(tmp_path / "p.png", side=64)
    mask = draw_mask(tmp_path / "m.png", (128, 128), (64, 0, 127, 127))
    jpeg = tmp_path / "m.jpg"
    Image.open(mask).save(jpeg, quality=90)
    found = photo_mask(jpeg, photo, frame_of(FIT, 64, 64), 16)
    assert np.asarray(found.own)[:, :30].max() == 0
    assert np.asarray(found.own)[:, 50:].min() == 255


def test_a_masked_photograph_on_the_command_line(command, lora, tmp_path):
    photo = picture(tmp_path / "photos/a.png", 1, side=64)
    other = picture(tmp_path / "photos/b.png", 2, side=64)
    mask = draw_mask(tmp_path / "masks/a.png", (64, 64), (32, 0, 63, 63))
    common = [f"lora={lora.path}", "scales=[0,1]", "skip=1", "resolution=64"]
    out_folder = tmp_path / "out"
    code, out, err = command(
        "gen",
        "edit=real",
        f"image={tmp_path / 'photos'}",
        f"mask={tmp_path / 'masks'}",
        *common,
        f"hydra.run.dir={out_folder}",
    )
    assert code == 0, err
    assert "has no mask for b, which is edited everywhere" in out + err
    zero, edited = (
        np.asarray(Image.open(out_folder / f"images/prompt00_image-a_scale+{scale}.png"))
        for scale in (0, 1)
    )
    assert zero.shape == (64, 64, 3)
    assert np.array_equal(zero[:, :32], edited[:, :32])
    assert not np.array_equal(zero[:, 48:], edited[:, 48:])
    code, _, err = command("gen", f"mask={mask}", f"lora={lora.path}")
    assert code == 1
    assert "has no effect; add edit=real" in err
    code, _, err = command("gen", "edit=real", f"image={other}", f"mask={mask}")
    assert (code, "has no effect, because no lora is given" in err) == (1, True)
    assert photo.exists()

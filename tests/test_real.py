"""Photographs end to end: scale 0 is the reconstruction, small scales stay near it."""

import json
import re
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from pairedit import cli
from pairedit.bases.flux1.flux import load
from pairedit.data.examples import find_images, pick_images
from pairedit.data.images import load_image, read_image, to_image, to_tensor
from pairedit.edits import Photo, RealImage
from pairedit.files import locate
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.pictures.png import read_metadata
from pairedit.plan.gen import plan_gen
from pairedit.plan.photos import find_photos, match_content
from pairedit.plan.train import plan_train
from pairedit.sample import Slider, generate
from test_config import composed
from test_sample import strong_lora

WAYS = {
    "ode": RealImage(inversion="ode", iterations=8),  # a random model is steep
    "lora": RealImage(inversion="lora"),
    "both": RealImage(inversion="both", iterations=8),
    "published": RealImage(inversion="lora", published=True, semantic_cfg_scale=0.75),
}
SHIPPED = locate("pkg://data/real")


def picture(path, seed=0, side=32):
    """Write a smooth picture, whose latents the tiny model's VAE keeps small."""
    small = np.random.default_rng(seed).integers(60, 200, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photos(flux, tmp_path):
    """Two photographs, each with a content LoRA that changes the image a little."""
    found = []
    for index, name in enumerate(("610", "1743")):
        path = picture(tmp_path / "photos" / f"{name}.png", index)
        lora = strong_lora(flux, tmp_path / name / "content.safetensors", seed=7 + index)
        weak = {module: (down, 0.3 * up) for module, (down, up) in lora.weights.items()}
        content = replace(lora, weights=weak)
        found.append(Photo(path=path, image=load_image(path, 32), content=content))
    return found


@pytest.fixture
def lora(flux, tmp_path):
    return strong_lora(flux, tmp_path / "semantic.safetensors")


def render(flux, photos, way, sliders, **changes):
    """Render as int arrays by name and scales."""
    options = {"skip": 1, "num_inference_steps": 4, "guidance_scale": 3.5, "resolution": 32}
    samples = generate(
        flux,
        sliders=sliders,
        prompts=[""],
        seeds=[None if WAYS[way].inversion in ("ode", "both") else 3],
        edit=WAYS[way],
        photos=[Photo(path=p.path, image=p.image) for p in photos] if way == "ode" else photos,
        **{**options, **changes},
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
def naive(flux, photo, loras, scales, skips, seed, prompt):
    """Edit one photograph alone, from a seed's noise, term by term as the formula says."""
    adapters = Adapters(flux.transformer)
    adapters.load("c", photo.content)
    for index, lora in enumerate(loras):
        adapters.load(f"s{index}", lora)
    sigmas, text = flux.sigmas(32, 4), flux.encode_prompt([prompt])
    x = flux.noise(seed, 32)[None]
    for step in range(4):

        def velocity(on, x=x, step=step):
            with adapters.rows([Row(scales=on)]):
                return flux.velocity(x, sigmas[step], text, 3.5)

        on = {f"s{i}": scale for i, scale in enumerate(scales) if step >= skips[i]}
        v = velocity({"c": 1.0}) + velocity(on) - velocity({})
        x = x + (sigmas[step + 1] - sigmas[step]) * v
    adapters.remove()
    return np.asarray(to_image(flux.decode(x)[0])).astype(int)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_sliders_edit_a_photograph_each_from_its_own_skip_on(
    flux, photos, lora, tmp_path, batch_size
):
    other = strong_lora(flux, tmp_path / "other.safetensors", seed=9, rank=5)
    columns = [(0.0, 0.0), (0.4, 0.0), (0.0, -0.6), (0.4, -0.6)]
    sliders = [
        Slider(lora=lora, scales=tuple(a for a, _ in columns), skip=3),
        Slider(lora=other, scales=tuple(b for _, b in columns), unit=0.5),
    ]
    prompts = {3: "old", 5: "young"}
    samples = list(
        generate(
            flux,
            sliders=sliders,
            prompts=prompts,
            seeds=[3, 5],
            skip=1,
            num_inference_steps=4,
            guidance_scale=3.5,
            resolution=32,
            batch_size=batch_size,
            edit=WAYS["lora"],
            photos=photos,
        )
    )
    order = [(p.name, seed, c) for p in photos for seed in prompts for c in columns]
    assert [(s.photo.name, s.seed, s.scales) for s in samples] == order
    for sample in samples:
        scales = (sample.scales[0], 0.5 * sample.scales[1])
        loras = [lora, other]
        expected = naive(flux, sample.photo, loras, scales, (3, 1), sample.seed, sample.prompt)
        assert sample.prompt == prompts[sample.seed]
        assert abs(np.asarray(sample.image).astype(int) - expected).max() <= 1, sample.scales
    late = naive(flux, photos[0], [lora, other], (0.4, -0.3), (2, 1), 3, "old")
    assert abs(np.asarray(samples[3].image).astype(int) - late).max() > 4, "a step more shows"


@pytest.fixture
def command(monkeypatch, tmp_path, capfd, tiny_overrides):
    """Run a command on the tiny model; return its exit code and output."""

    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [f"pairedit-{name}", *words, *tiny_overrides])
        monkeypatch.chdir(tmp_path)
        code = 0
        try:
            getattr(cli, name)()
        except SystemExit as leave:
            code = leave.code
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_train_content_loras_then_edit_with_them(command, flux, lora, tmp_path):
    words = ["dataset=real", "image_ids=[610,1743]", "steps=2", "lora.rank=2"]
    run = tmp_path / "run"
    code, out, err = command("train", "method=inversion", *words, f"hydra.run.dir={run}")
    assert (code, err) == (0, "")
    assert out.splitlines()[-2:] == [
        f"{stem}: content_lora={run / stem / 'content.safetensors'}" for stem in ("610", "1743")
    ]
    assert {path.name for path in (run / "610").iterdir()} == {
        "content.safetensors",
        "metrics.jsonl",
        "preview.png",
        "report.json",
    }
    report = json.loads((run / "610/report.json").read_text())
    assert report["updates"]["content"]["norm"] > 0
    assert len(report["reconstruction"]) == len(report["seeds"]) == 2
    assert f"610: reconstruction {report['reconstruction'][0]:.1f} dB from seed 0" in out
    bytes_before = (run / "610/content.safetensors").read_bytes()
    code, out, err = command("train", f"resume={run}")
    assert (code, err) == (0, "")
    assert {"610: finished already", "1743: finished already"} <= set(out.splitlines())
    assert (run / "610/content.safetensors").read_bytes() == bytes_before
    metadata = read_lora(run / "610/content.safetensors").metadata
    assert (metadata["method"], metadata["dataset"]) == ("inversion", "610")
    first, second = (read_lora(run / s / "content.safetensors") for s in ("610", "1743"))
    assert first.sha256 != second.sha256

    images = f"image=[{SHIPPED}/610.png,{SHIPPED}/1743.png]"
    common = [images, f"lora={lora.path}", "scales=[-0.3,0,0.3]", "skip=1", "animate=true"]
    for edit, more, row in (
        ("real", [], "prompt00_image-610"),
        ("real", [f"content_lora={run}"], "prompt00_image-610"),
        ("real_published", [f"content_lora={run}"], "prompt00_image-610_seed000000"),
    ):
        folder = tmp_path / f"gen-{edit}-{len(more)}"
        code, out, err = command("gen", f"edit={edit}", *common, *more, f"hydra.run.dir={folder}")
        assert (code, err) == (0, "")
        names = {path.name for path in (folder / "images").iterdir()}
        assert len(names) == 6
        assert {f"{row}_scale{scale}.png" for scale in ("-0.3", "+0", "+0.3")} <= names
        assert len(list((folder / "animations").iterdir())) == 2
        notes = read_metadata(folder / "images" / f"{row}_scale+0.3.png")
        assert notes["image"] == str(SHIPPED / "610.png")
        assert notes["published"] == str(edit == "real_published")
        assert ("content_lora.sha256" in notes) is bool(more)
        # The photograph stands in front of its row, pixel by pixel.
        sheet = np.asarray(read_image(folder / "sheet.png"))
        photo = np.asarray(load_image(SHIPPED / "610.png", 32))
        windows = np.lib.stride_tricks.sliding_window_view(sheet, photo.shape)[:, :, 0]
        places = np.argwhere((windows == photo).all((2, 3, 4)))
        assert len(places) == 1
        zero = np.asarray(read_image(folder / "images" / f"{row}_scale-0.3.png"))
        y, x = places[0]
        assert np.array_equal(sheet[y : y + 32, x + 36 : x + 68], zero)


def test_a_grid_shows_the_photograph_before_every_line(command, flux, lora, tmp_path):
    other = strong_lora(flux, tmp_path / "other.safetensors", seed=9)
    code, _, err = command(
        "gen",
        "edit=real",
        f"image={SHIPPED}/610.png",
        f"lora=[{lora.path},{other.path}]",
        "scales=[0,0.3]",
        "grid=true",
        "skip=1",
        f"hydra.run.dir={tmp_path / 'grid'}",
    )
    assert (code, err) == (0, "")
    assert len(list((tmp_path / "grid/images").iterdir())) == 4
    sheet = np.asarray(read_image(tmp_path / "grid/sheet.png"))
    photo = np.asarray(load_image(SHIPPED / "610.png", 32))
    windows = np.lib.stride_tricks.sliding_window_view(sheet, photo.shape)[:, :, 0]
    assert len(np.argwhere((windows == photo).all((2, 3, 4)))) == 2


GEN = ["edit=real", "image={shipped}/610.png"]
MISTAKES = {
    "no image": (["edit=real"], "needs image="),
    "no such image": (["edit=real", "image=/nowhere.png"], "/nowhere.png: no such file"),
    "image without edit": (["image={shipped}/610.png"], "without effect, add edit=real"),
    "inversion without edit": (["inversion=ode"], "inversion=ode: without effect"),
    "unknown inversion": ([*GEN, "inversion=odd"], "expected auto, ode, lora, both"),
    "content LoRA missing": ([*GEN, "inversion=lora"], "inversion=lora: needs content_lora="),
    "published without one": (["edit=real_published", *GEN[1:]], "needs content_lora="),
    "published ode": (["edit=real_published", "inversion=ode", *GEN[1:]], "expected lora or both"),
    "content LoRA unused": (
        [*GEN, "inversion=ode", "content_lora=x"],
        "content_lora=x: without effect",
    ),
    "a prompt for each seed": (
        [*GEN, "prompts_per_seed=one"],
        "prompts_per_seed=one: without effect, inversion=ode",
    ),
    "seeds unused": ([*GEN, "seeds=[1]"], "seeds=[1]: without effect"),
    "too few content LoRAs": (
        ["edit=real", "image={shipped}", "content_lora=[a,b]"],
        "2 for 6 images",
    ),
    "folder without the LoRA": ([*GEN, "content_lora={shipped}"], "610/content.safetensors"),
    "no weight": ([*GEN, "semantic_cfg_scale=0"], "semantic_cfg_scale=0.0: expected"),
}
TRAIN_MISTAKES = {
    "unknown id": (["method=inversion", "dataset=real", "image_ids=[611]"], "no 611 in"),
    "ids of pairs": (["dataset=age", "image_ids=[1]"], "image_ids=[1]: without effect"),
    "pairs for inversion": (["method=inversion", "dataset=age"], "expected dataset=real"),
    "images for an edit": (
        ["dataset=real"],
        "learns from image pairs, but dataset real holds single images",
    ),
    "no folder": (["method=inversion", "dataset=images"], "images=/path"),
}


@pytest.mark.parametrize("name", [*MISTAKES, *TRAIN_MISTAKES])
def test_mistakes_are_one_clear_line(name):
    words, message = {**MISTAKES, **TRAIN_MISTAKES}[name]
    words = [word.replace("{shipped}", str(SHIPPED)) for word in words]
    config = composed("gen" if name in MISTAKES else "train", *words)
    check = plan_gen if name in MISTAKES else partial(plan_train, method_name="?")
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        check(config)
    assert "\n" not in str(caught.value)


def test_the_inversion_is_chosen_by_what_is_given(tmp_path, flux):
    content = strong_lora(flux, tmp_path / "610" / "content.safetensors").path
    words = ["edit=real", f"image={SHIPPED}/610.png"]
    plan = plan_gen(composed("gen", *words))
    assert (plan.edit.inversion, plan.seeds, plan.prompts) == ("ode", [None], [""])
    plan = plan_gen(composed("gen", *words, f"content_lora={content}"))
    assert (plan.edit.inversion, plan.seeds) == ("both", [None])
    assert plan.photos == [(SHIPPED / "610.png", content)]
    words[0] = "edit=real_published"
    plan = plan_gen(composed("gen", *words, f"content_lora={tmp_path}"))
    assert (plan.edit.inversion, plan.edit.semantic_cfg_scale) == ("lora", 0.75)
    assert (plan.seeds, plan.resolved["seeds"]) == ([0], [0])
    assert plan.photos == [(SHIPPED / "610.png", content)]


def test_images_are_found_by_file_folder_and_list(tmp_path):
    one, two = (picture(tmp_path / f"{name}.png") for name in ("a b", "c"))
    assert find_photos(str(tmp_path)) == [one, two]
    assert find_photos([str(two), str(one)]) == [two, one]
    assert match_content(None, [one, two]) == [None, None]
    assert list(pick_images(tmp_path, "c")) == ["c"]
    assert list(pick_images(tmp_path, None)) == ["a b", "c"]
    assert Photo(path=one, image=read_image(one)).name == "a-b"
    with pytest.raises(ValueError, match=r"both named a-b"):
        find_photos([str(one), str(picture(tmp_path / "other" / "a-b.png"))])
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"torn\.png: not a readable"):
        find_images(tmp_path)


def test_steps_of_an_inversion_follow_the_model():
    words = ["method=inversion", "dataset=real"]
    assert composed("train", *words).steps < 1500
    assert composed("train", *words, "model=flux-dev").steps == 1500
    assert composed("train", *words, "steps=7").steps == 7


@pytest.mark.parametrize("path", ["real/610.png", "real_photo/astronaut.png"])
def test_flux_mini_leads_back_to_a_photograph(path):
    """Also to one of a real person, which it could never have drawn."""
    mini = load(
        str(locate("pkg://flux_mini")), device="cpu", precision="float32", max_sequence_length=32
    )
    path = locate(f"pkg://data/{path}")
    photo = Photo(path=path, image=load_image(path, 128))
    (sample,) = generate(
        mini,
        sliders=[],
        prompts=[""],
        seeds=[None],
        skip=11,
        num_inference_steps=28,
        guidance_scale=3.5,
        resolution=128,
        edit=RealImage(inversion="ode"),
        photos=[photo],
    )
    latents = mini.encode(to_tensor(photo.image)[None]).mean
    alone = mini.decode(latents)[0].clamp(-1, 1)
    error = ((to_tensor(sample.image) - alone) / 2).square().mean()
    assert float(-10 * torch.log10(error)) > 45

"""Pictures of any shape: drawn as diffusers draws them, learnt together, brought back."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from PIL import ImageFilter

from pairedit.data.examples import Pair, find_pairs
from pairedit.data.images import load_image, read_image
from pairedit.data.shapes import Fit
from pairedit.edits import Photo, RealImage
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.measure.choice import by_pairs
from pairedit.methods import Graded
from pairedit.pictures.cells import fitted
from pairedit.pictures.pairs import draw_pairs
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training
from pairedit.train import encode_pairs, fit
from tiny import noise, picture, places

FIT = Fit(resolution=64, unit=16)
TALL, WIDE, SQUARE = (80, 48), (48, 80), (64, 64)  # height and width
SETTINGS = Training(steps=12, rank=2, size=FIT, num_inference_steps=6, end_step=5)


def save_pairs(folder, shapes, seed=0):
    """Write pairs of other pixels than the model draws, by name."""
    for index, (name, (height, width)) in enumerate(shapes.items()):
        for side in ("source", "target"):
            image = noise(seed + 2 * index + (side == "target"), 2 * width, 2 * height)
            path = folder / side / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return folder


@pytest.fixture
def mixed(tmp_path):
    shapes = {"tall": TALL, "wide": WIDE, "square": SQUARE}
    return find_pairs(save_pairs(tmp_path / "mixed", shapes))


@dataclass(kw_only=True)
class Spy:
    """Note the steps of a method."""

    learns_from: ClassVar[type] = Pair
    method: Graded = field(default_factory=Graded)
    steps: list = field(default_factory=list)

    @property
    def roles(self):
        return self.method.roles

    def terms(self, step):
        self.steps.append(step)
        return self.method.terms(step)


def train(flux, pairs, folder, method=None, settings=SETTINGS):
    folder.mkdir(parents=True)
    return fit(
        base=flux,
        method=method or Graded(),
        pairs=pairs,
        settings=settings,
        folder=folder,
        run=Silent(),
        metadata={},
    )


@pytest.mark.parametrize("size", [TALL, WIDE, SQUARE])
def test_the_picture_is_that_of_diffusers(flux, lora, tiny_flux_folder, size):
    pipeline = FluxPipeline.from_pretrained(tiny_flux_folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    at = Rendering(num_inference_steps=5, size=size)
    for sliders in ([], [Slider(lora=lora, scales=(1.0,))]):
        if sliders:
            pipeline.load_lora_weights(str(lora.path.parent), weight_name=lora.path.name)
        (sample,) = generate(flux, sliders=sliders, prompts=["old"], seeds=[7], rendering=at)
        theirs = pipeline(
            "old",
            height=size[0],
            width=size[1],
            num_inference_steps=5,
            guidance_scale=3.5,
            max_sequence_length=32,
            generator=torch.Generator().manual_seed(7),
        ).images[0]
        apart = abs(np.asarray(sample.image).astype(int) - np.asarray(theirs).astype(int))
        # A LoRA's sums come in another order: at most a grey level beside it.
        assert apart.max() <= (1 if sliders else 0)


def test_pairs_of_three_shapes_train_together_each_at_its_own_levels(flux, mixed, tmp_path):
    spy = Spy()
    files = train(flux, mixed, tmp_path / "run", spy)
    sizes = {size: flux.latent_shape(size) for size in (TALL, WIDE, SQUARE)}
    grids = {flux.latent_shape(size): flux.sigmas(size, 6).tolist() for size in sizes}
    assert len({tuple(grid) for grid in grids.values()}) == 2  # by the number of tokens
    seen = {tuple(step.noise.shape) for step in spy.steps}
    assert seen == set(sizes.values())
    shown = {
        pair.stem: one for pair, one in zip(mixed, encode_pairs(flux, mixed, FIT), strict=True)
    }
    for step in spy.steps:
        grid = grids[tuple(step.noise.shape)]
        assert step.path == tuple(grid[: len(step.path)])
        assert step.sigma == step.path[-1]
        (source,) = (
            one.sides[0].mean[0]
            for one in shown.values()
            if one.sides[0].mean.shape[1:] == step.source.shape
        )
        assert torch.equal(source, step.source)
    again = train(flux, mixed, tmp_path / "again")
    for role, path in files.items():
        for module, (down, up) in read_lora(path).weights.items():
            other = read_lora(again[role]).weights[module]
            assert torch.equal(down, other[0])
            assert torch.equal(up, other[1])


def test_pairs_of_one_shape_train_as_at_that_size(flux, pair_folder, tmp_path):
    pairs = find_pairs(pair_folder)
    found = [
        train(flux, pairs, tmp_path / str(number), settings=Training(**{**vars(SETTINGS), **size}))
        for number, size in enumerate([{"size": (32, 32)}, {"size": Fit(resolution=32, unit=16)}])
    ]
    one, other = (read_lora(files["semantic"]).weights for files in found)
    assert all(torch.equal(a, b) for m in one for a, b in zip(one[m], other[m], strict=True))


def test_a_run_is_known_by_its_size_however_that_was_found(flux, pair_folder, tmp_path):
    from pairedit.train import _settled

    fitted = Training(**{**vars(SETTINGS), "size": FIT})
    assert _settled(fitted, [SQUARE]).size == SQUARE
    assert _settled(fitted, [SQUARE, TALL]).size == FIT


def test_the_reach_of_mixed_pairs_is_that_of_all_their_pixels(flux, mixed):
    choice = by_pairs(flux, mixed, FIT)
    each = [by_pairs(flux, [pair], FIT).reach for pair in mixed]
    assert min(each) <= choice.reach <= max(each)


def test_both_sides_have_the_size_of_the_source(flux, tmp_path):
    folder = save_pairs(tmp_path / "off", {"a": TALL})
    path = folder / "target/a.png"
    read_image(path).resize((97, 159)).save(path)  # another program rounds otherwise
    ((source, target),) = (one.sides for one in encode_pairs(flux, find_pairs(folder), FIT))
    assert source.mean.shape == target.mean.shape == (1, *flux.latent_shape(TALL))


def test_the_sheet_of_pairs_shows_their_shapes(mixed):
    sheet = draw_pairs(mixed, FIT, title="mixed")
    for pair in mixed:
        assert len(places(sheet, fitted(load_image(pair.source, FIT)))) == 1, pair.stem


def photo_of(path, size=FIT, **more):
    image = load_image(path, size)
    return Photo(path=path, image=image, **more)


def test_photographs_of_several_shapes_do_not_influence_each_other(
    flux, lora, tmp_path, monkeypatch
):
    sizes = {"tall": (96, 160), "wide": (160, 96), "square": (99, 99)}
    photos = []
    for index, (name, pixels) in enumerate(sizes.items()):
        path = picture(tmp_path / f"{name}.png", index)
        read_image(path).resize(pixels).save(path)
        photos.append(photo_of(path, pixels=pixels))

    def render(photos):
        samples = generate(
            flux,
            sliders=[Slider(lora=lora, scales=(0.0, 0.5))],
            prompts=[""],
            seeds=[None],
            edit=RealImage(inversion="ode"),
            photos=photos,
            rendering=Rendering(skip=1, num_inference_steps=4, size=SQUARE),
        )
        return {(s.photo.name, s.scales): s for s in samples}

    order = []
    prepare, load = flux.prepare, Adapters.load
    with monkeypatch.context() as patch:
        patch.setattr(flux, "prepare", lambda s, *a: order.append(len(s)) or prepare(s, *a))
        patch.setattr(Adapters, "load", lambda *a: order.append("LoRA") or load(*a))
        together = render(photos)
    # A model is placed before LoRAs are attached, for the levels of all three sizes.
    assert order == [3 * 4 + 1, "LoRA"]
    assert [key[0] for key in together] == [name for name in sizes for _ in range(2)]
    for photo in photos:
        for key, sample in render([photo]).items():
            assert np.array_equal(sample.image, together[key].image)
            assert sample.image.size == photo.image.size
            assert sample.finished.size == sizes[photo.name]


def test_a_tall_pair_trains_and_renders_a_tall_row(command, tmp_path):
    folder = save_pairs(tmp_path / "portraits", {"a": TALL, "b": TALL})
    run, shown = tmp_path / "run", tmp_path / "gen"
    words = ["dataset=folder", f"pairs={folder}", "resolution=64", "steps=2", "lora.rank=2"]
    code, out, err = command("train", *words, f"hydra.run.dir={run}", "size=[48,80]")
    assert (code, err) == (0, "")
    assert "portraits: trained at 48 x 80 px" in out
    lora = f"lora={run}/portraits/semantic.safetensors"
    code, _, err = command(
        "gen", lora, "scales=[0,0.5]", "seeds=[1]", "size=[48,80]", f"hydra.run.dir={shown}"
    )
    assert (code, err) == (0, "")
    sizes = {read_image(path).size for path in (shown / "images").iterdir()}
    assert sizes == {(48, 80)}
    assert (run / "portraits/preview.png").is_file()


def test_a_photograph_comes_back_at_its_own_size(command, lora, tmp_path):
    photo = tmp_path / "holiday.png"
    noise(3, 150, 100).filter(ImageFilter.GaussianBlur(9)).save(photo)
    words = ["edit=real", f"image={photo}", f"lora={lora.path}", "scales=[0,0.2]", "skip=1"]
    code, out, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'out'}")
    assert (code, err) == (0, "")
    assert {read_image(p).size for p in (tmp_path / "out/images").iterdir()} == {(150, 100)}
    assert "holiday.png: drawn at 48 x 32 px, comes back at 150 x 100 px" in out
    code, out, err = command("gen", *words, "size=square", f"hydra.run.dir={tmp_path / 'square'}")
    assert (code, err) == (0, "")
    assert "150 x 100 px, cut to 100 x 100: 33 % is lost at the left and right" in out
    assert {read_image(p).size for p in (tmp_path / "square/images").iterdir()} == {(100, 100)}


@pytest.mark.parametrize("size", ["[40,32]", "round", "[32]", "512", "[a,b]"])
def test_a_size_that_cannot_be_is_refused(command, size):
    code, _, err = command("gen", f"size={size}")
    assert code == 1
    assert f"size={size}: expected fit, square, or [width,height] in multiples of 16 px" in err

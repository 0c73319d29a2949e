"""Pictures one chooses by: snapshots against scales, many seeds in order, an image once more."""

import re

import numpy as np
import pytest
from PIL import Image

from pairedit.data.images import read_image
from pairedit.lora.file import annotate_lora, read_lora, write_lora
from pairedit.pictures.png import read_metadata
from pairedit.runs.words import listed
from tiny import picture, strong_lora

PROMPTS = ["an old man", 'it\'s "1", a=b, ${x}']

QUIET = ("preview=false", "report=false")


def pixels(path):
    return np.asarray(read_image(path)).astype(int)


@pytest.fixture
def run(trained, tmp_path):
    """Return the folder of a training of three steps with a snapshot of each."""
    words = ("steps=3", "save_every=1", "snapshots=true", "learning_rate=0.05", *QUIET)
    return trained(tmp_path / "run", *words)


def test_snapshots_are_a_grid_of_steps_and_scales(command, run, tmp_path):
    words = ("snapshots=true", "scales=[0,1,2]", "skip=1", f"hydra.run.dir={tmp_path}/grid")
    code, _, err = command("gen", f"lora={run}", *words)
    assert (code, err) == (0, "")
    names = sorted(path.name for path in (tmp_path / "grid/images").iterdir())
    assert names == [
        f"step{step:06d}_prompt00_seed000000_scale{scale}.png"
        for step in (1, 2, 3)
        for scale in ("+0", "+1", "+2")
    ]
    sheet = read_image(tmp_path / "grid/sheet.png")
    assert sheet.height > 4 * 64, "the pairs, and a line for each step"
    alone = (f"lora={run}/disc/semantic-000002.safetensors", "scales=[0,1,2]", "skip=1", "seeds=0")
    assert command("gen", *alone, f"hydra.run.dir={tmp_path}/alone")[0] == 0
    left = tmp_path / "grid/images/step000002_prompt00_seed000000_scale+2.png"
    right = tmp_path / "alone/images/prompt00_seed000000_scale+2.png"
    assert (pixels(left) == pixels(right)).all()
    assert read_metadata(left)["lora.0.path"].endswith("semantic-000002.safetensors")


def test_snapshots_need_two_states(command, trained, tmp_path):
    code, _, err = command("gen", f"lora={trained(tmp_path / 'run', *QUIET)}", "snapshots=true")
    assert code == 1
    assert "snapshots=true needs two states of one training, there is 1" in err


def test_an_overview_puts_the_seeds_in_order(command, run, tmp_path):
    words = ("overview=true", "scales=[2]", "seeds={start: 0, count: 5}", "skip=0", "local=false")
    lora = f"lora={run}/disc/semantic.safetensors"
    code, out, err = command("gen", lora, *words, f"hydra.run.dir={tmp_path}/over")
    assert (code, err) == (0, "")
    assert "disc: scale 0 and 2 of 5 seeds, by how far the coarse picture changes" in out
    assert f"overview: {tmp_path}/over/overview.png" in out
    assert len(list((tmp_path / "over/images").iterdir())) == 10
    assert not (tmp_path / "over/sheet.png").exists()
    # Without pairs it is the change itself, which the images tell.
    annotate_lora(run / "disc/semantic.safetensors", config=None)
    code, out, _ = command("gen", lora, *words, f"hydra.run.dir={tmp_path}/bare")
    assert code == 0
    assert "are gone, so no seed is compared with them" in out
    assert "by the how much changes at all" not in out


def test_the_order_is_that_of_the_change(monkeypatch, command, run, tmp_path):
    from pairedit.jobs import choosing

    seen = {}

    def draw(cells, labels, *, title, bands):
        seen.update(labels=labels, cells=cells)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(choosing, "draw_overview", draw)
    words = ("overview=true", "scales=[-2]", "seeds={start: 0, count: 4}", "skip=0")
    lora = f"lora={run}/disc/semantic.safetensors"
    assert command("gen", lora, *words, f"hydra.run.dir={tmp_path}/over")[0] == 0
    values = [float(label.split(" · ")[1]) for label in seen["labels"]]
    assert values == sorted(values), "a negative scale is to move away"
    for (zero, other), label in zip(seen["cells"], seen["labels"], strict=True):
        seed = int(re.search(r"seed (\d+)", label)[1])
        for scale, image in ((0, zero), (-2, other)):
            name = f"prompt00_seed{seed:06d}_scale{scale:+d}.png"
            assert (pixels(tmp_path / "over/images" / name) == np.asarray(image)).all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["overview=true"], "overview=true: has no effect"),
        (["overview=true", "snapshots=true", "lora=x.pt"], "expected one of them"),
        (["overview=true", "lora=x.pt", "scales=[0.2,0.4]"], "one scale beside 0"),
        (["overview=true", "lora=x.pt", "animate=true"], "makes no animation"),
        (["snapshots=true", "lora=[x.pt,y.pt]"], "snapshots=true: expected one slider"),
    ],
)
def test_what_shows_nothing_is_refused(command, words, says):
    code, _, err = command("gen", *words)
    assert code == 1
    assert says in err


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("rendered")


@pytest.fixture
def render(command, flux):
    """Return what renders two sliders with all that an image has to remember, once in a folder."""

    def run(folder):
        if not (folder / "first").exists():
            age, smile = (
                strong_lora(flux, folder / name / "semantic.safetensors", seed=seed, rank=rank).path
                for name, seed, rank in (("age", 0, 3), ("smile", 9, 5))
            )
            use = {"skip": 0.9, "local": False, "schedule": -1.0, "by": "probe"}
            annotate_lora(smile, use=use)
            words = (
                f"lora=[{{path: {age}, skip: 2, local: true}},{{path: {smile}, scales: [0.3]}}]",
                "scales=[-0.5,0.7]",
                "seeds=[5,8,9]",
                f"prompts={listed(PROMPTS)}",
                "skip=auto",
                "batch_size=5",
            )
            code, _, err = command("gen", *words, f"hydra.run.dir={folder}/first")
            assert code == 0, err
        return folder / "first/images"

    return run


@pytest.fixture
def rendered(render, shared):
    """Lay such images where all may read them."""
    return render(shared)


@pytest.mark.parametrize(
    "name", ["prompt00_seed000005_scale-0.5_+0.3", "prompt01_seed000009_scale+0.7_+0.3"]
)
def test_an_image_is_rendered_again_to_the_same_pixels(command, rendered, tmp_path, name):
    image = rendered / f"{name}.png"
    code, out, err = command("gen", f"again={image}", f"hydra.run.dir={tmp_path}/again")
    assert (code, err) == (0, "")
    assert f"again: the same pixels as {image}" in out
    (found,) = (tmp_path / "again/images").iterdir()
    assert (pixels(found) == pixels(image)).all()
    # And so from what was rendered again.
    code, out, _ = command("gen", f"again={found}", f"hydra.run.dir={tmp_path}/more")
    assert code == 0
    assert "again: the same pixels" in out


def test_an_edited_picture_is_edited_again(command, lora, tmp_path):
    words = [f"lora={lora.path}", "scales=[0.5,1]", "seeds=[5,8]", "batch_size=3", "skip=1"]
    code, _, err = command("gen", *words, "flowedit=true", f"hydra.run.dir={tmp_path}/first")
    assert (code, err) == (0, "")
    image = tmp_path / "first/images/prompt00_seed000005_scale+1.png"
    with Image.open(image) as found:
        assert found.info["lora.0.flowedit"] == "true"
    code, out, _ = command("gen", f"again={image}", f"hydra.run.dir={tmp_path}/again")
    assert code == 0
    assert f"again: the same pixels as {image}" in out


def test_words_behind_it_change_what_they_name(command, rendered, tmp_path):
    image = rendered / "prompt00_seed000005_scale-0.5_+0.3.png"
    code, out, err = command(
        "gen", f"again={image}", "seeds=[8]", f"hydra.run.dir={tmp_path}/again"
    )
    assert (code, err) == (0, "")
    assert "again:" not in out
    (found,) = (tmp_path / "again/images").iterdir()
    assert found.name == "prompt00_seed000008_scale-0.5_+0.3.png"
    other = rendered / "prompt00_seed000008_scale-0.5_+0.3.png"
    assert abs(pixels(found) - pixels(other)).max() <= 1


def test_a_lora_that_has_changed_or_gone_is_said(command, render, tmp_path):
    image = render(tmp_path) / "prompt00_seed000005_scale-0.5_+0.3.png"
    age = tmp_path / "age/semantic.safetensors"
    annotate_lora(age, use={"local": False, "schedule": 1.0, "by": "probe"})
    code, out, err = command("gen", f"again={image}", f"hydra.run.dir={tmp_path}/noted")
    assert (code, err) == (0, ""), "a note changes no weight, and the image's own use counts"
    assert "again: the same pixels" in out
    weights = {module: (down, 1.5 * up) for module, (down, up) in read_lora(age).weights.items()}
    write_lora(age, weights, {})
    code, out, err = command("gen", f"again={image}", f"hydra.run.dir={tmp_path}/changed")
    assert code == 0
    assert f"{age}: its weights have changed since" in err
    assert re.search(r"again: differs from .* by up to \d+ of 255", out)
    age.unlink()
    code, _, err = command("gen", f"again={image}", f"hydra.run.dir={tmp_path}/gone")
    assert code == 1
    assert f"{age}: is gone; name the LoRA with lora=" in err


def test_what_says_nothing_is_refused(command, rendered, pair_folder):
    for path, says in (
        (rendered.parent / "sheet.png", "does not say how it was rendered"),
        (pair_folder / "source/p0.png", "does not say how it was rendered"),
        (rendered / "none.png", "no such image"),
    ):
        code, _, err = command("gen", f"again={path}")
        assert code == 1
        assert says in err


@pytest.mark.parametrize(("masks", "use"), [(0, []), (1, []), (2, []), (1, ["flowedit=true"])])
def test_a_photograph_is_edited_again_to_the_same_pixels(command, lora, tmp_path, masks, use):
    photos = [picture(tmp_path / f"photos/{name}.png", seed, 48) for seed, name in enumerate("ab")]
    (tmp_path / "masks").mkdir()
    for photo in photos[:masks]:
        mask = Image.new("L", (48, 48))
        mask.paste(255, (0, 0, 48, 24))
        mask.save(tmp_path / "masks" / photo.name)
    words = ["edit=real", f"image={tmp_path}/photos", f"lora={lora.path}", "scales=[0,0.5]", *use]
    words += [f"mask={tmp_path}/masks"] if masks else []
    code, _, err = command("gen", *words, "skip=2", f"hydra.run.dir={tmp_path}/first")
    assert (code, err) == (0, "")
    image = tmp_path / "first/images/prompt00_image-a_scale+0.5.png"
    code, out, err = command("gen", f"again={image}", f"hydra.run.dir={tmp_path}/again")
    assert (code, err) == (0, "")
    (found,) = (tmp_path / "again/images").iterdir()
    difference = int(abs(pixels(found) - pixels(image)).max())
    # Of two photographs of which one has a mask, the other does not run along.
    assert difference <= (1 if masks == 1 else 0)
    assert ("again: the same pixels" in out) is (difference == 0)

"""The commands on folders, names and output places as people bring them."""

import json
import shutil

import numpy as np
import yaml

from pairedit.data.images import read_image
from pairedit.pictures.cells import fitted
from pairedit.pictures.png import read_metadata
from tiny import QUICK, noise, places, strong_lora, write_pairs


def test_a_training_says_what_it_found_and_shows_it(command, tmp_path):
    pairs = write_pairs(tmp_path / "mine", side=48)
    (pairs / "source/p0.png").rename(pairs / "source/p0.jfif")
    (pairs / "source/p0.txt").write_text("a disc")
    moved = read_image(pairs / "target/p1.png").resize((24, 24))
    moved.save(pairs / "target/p1.png")
    place = f"hydra.run.dir={tmp_path / 'run'}"
    code, out, err = command("train", "dataset=folder", f"pairs={pairs}", place, *QUICK)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert f"2 pairs in {pairs}: p0, p1" in lines
    assert "left out (text): source/p0.txt" in lines
    assert any(
        "48 x 48 px and 24 x 24 px: one side is 2.0 times as large" in line for line in lines
    )
    sheet = np.asarray(read_image(tmp_path / "run/mine/pairs.png"))
    target = fitted(read_image(pairs / "target/p0.png").resize((32, 32), 1))
    assert len(places(sheet, target)) == 1
    # A run that goes on leaves it alone; one that begins anew, in a folder without results, not.
    drawn = (tmp_path / "run/mine/pairs.png").stat().st_mtime_ns
    assert command("train", f"resume={tmp_path / 'run'}")[0] == 0
    assert (tmp_path / "run/mine/pairs.png").stat().st_mtime_ns == drawn


def test_an_evaluation_says_once_what_it_found(command, trained, pair_folder, tmp_path):
    for run in ("a", "b"):
        trained(tmp_path / "sweep" / run, "preview=false", "report=false")
    words = [f"sweep={tmp_path / 'sweep'}", "scales=[0,1]", "seeds=[3]", "skip=1"]
    code, out, err = command("eval", *words, f"hydra.run.dir={tmp_path / 'eval'}")
    assert (code, err) == (0, "")
    assert out.splitlines().count(f"2 pairs in {pair_folder}: p0, p1") == 1


def test_a_used_folder_holds_the_new_rendering_alone(command, tmp_path):
    place = f"hydra.run.dir={tmp_path / 'gen'}"
    assert command("gen", "seeds=[1,2]", "skip=1", place)[0] == 0
    (tmp_path / "gen/images/favourite.png").write_bytes(b"mine")
    assert command("gen", "seeds=[3]", "skip=1", place)[0] == 0
    names = {path.name for path in (tmp_path / "gen/images").iterdir()}
    assert names == {"favourite.png", "prompt00_seed000003_scalebase.png"}
    assert yaml.safe_load((tmp_path / "gen/config.yaml").read_text())["seeds"] == [3]


def test_what_is_refused_or_edited_stays(command, flux, tmp_path):
    place = f"hydra.run.dir={tmp_path / 'gen'}"
    assert command("gen", "seeds=[1]", "skip=1", place)[0] == 0
    (image,) = (tmp_path / "gen/images").iterdir()
    before = image.read_bytes()
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    words = [f"lora={lora.path}", "scales=[1e38]", "seeds=[2]", "skip=1"]
    assert command("gen", *words, place)[0] == 1
    assert image.read_bytes() == before
    assert command("gen", "edit=real", f"image={image}", "skip=1", place)[0] == 0
    assert image.read_bytes() == before


def test_a_used_folder_holds_the_new_evaluation_alone(command, flux, pair_folder, tmp_path):
    words = [f"pairs={pair_folder}", "scales=[0,1]", "seeds=[3]", "skip=1", "calibrate=false"]
    place = f"hydra.run.dir={tmp_path / 'eval'}"
    for name in ("José", "Josè"):
        lora = strong_lora(flux, tmp_path / name / "x.safetensors")
        code, _, err = command("eval", f"lora='{lora.path}'", *words, place)
        assert (code, err) == (0, "")
        sheets = [path.name for path in (tmp_path / "eval/sheets").iterdir()]
        assert len(sheets) == 1
        found = json.loads((tmp_path / "eval/eval.json").read_text())["sliders"]
        assert [slider["edit"] for slider in found] == [name]


def test_photographs_of_any_name_are_edited(command, tmp_path):
    names = [
        "José.png",
        "Josè.png",
        "写真一.png",
        "写真二.png",
        "x" * 231 + ".png",
        "a b.png",
        "a-b",
    ]
    for index, name in enumerate(names):
        (tmp_path / "photos").mkdir(exist_ok=True)
        noise(index).save(tmp_path / "photos" / name, "PNG")
    (tmp_path / "photos/again").mkdir()
    shutil.copy(tmp_path / "photos/José.png", tmp_path / "photos/again/José.png")
    words = ["edit=real", f"image={tmp_path / 'photos'}", "skip=3"]
    code, _, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'gen'}")
    assert (code, err) == (0, "")
    images = sorted((tmp_path / "gen/images").iterdir())
    assert len(images) == len(names) + 1
    assert len({read_metadata(path)["image"] for path in images}) == len(images)


def test_content_loras_of_subfolders_find_their_photographs(command, tmp_path):
    for index, name in enumerate(("1.png", "in/1.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(exist_ok=True)
        noise(index).save(path)
    words = ["method=inversion", "dataset=images", f"images={tmp_path / 'photos'}"]
    place = f"hydra.run.dir={tmp_path / 'run'}"
    assert command("train", *words, place, *QUICK, "preview=false", "report=false")[0] == 0
    found = {path.parent.name for path in (tmp_path / "run").glob("*/content.safetensors")}
    assert found == {"1", "in-1"}
    words = ["edit=real", f"image={tmp_path / 'photos'}", f"content_lora={tmp_path / 'run'}"]
    code, _, err = command("gen", *words, "skip=3", f"hydra.run.dir={tmp_path / 'gen'}")
    assert (code, err) == (0, "")
    notes = [read_metadata(path) for path in (tmp_path / "gen/images").iterdir()]
    assert {note["image"]: note["content_lora.path"] for note in notes} == {
        str(tmp_path / "photos/1.png"): str(tmp_path / "run/1/content.safetensors"),
        str(tmp_path / "photos/in/1.png"): str(tmp_path / "run/in-1/content.safetensors"),
    }

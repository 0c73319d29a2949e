"""pairedit-gen end to end on the tiny model: what it leaves behind."""

import json

import numpy as np
import pytest

from pairedit.data.images import load_image, read_image
from pairedit.data.prompts import read_prompts
from pairedit.files import locate
from pairedit.lora.file import annotate_lora, read_lora
from pairedit.pictures.cells import fitted
from pairedit.pictures.png import read_metadata
from pairedit.plan.parse import choose_prompts
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import places, strong_lora, write_pairs


def test_gen_passes_every_value_on(command, flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "strong.safetensors")
    words = ["skip=2", "guidance_scale=1.5", "seeds=[5]", "prompts=[old]", "scales=[0.7]"]
    code, _, err = command("gen", f"lora={lora.path}", *words, f"hydra.run.dir={tmp_path / 'a'}")
    assert (code, err) == (0, "")
    (path,) = (tmp_path / "a/images").iterdir()

    def render(**changes):
        at = Rendering(skip=2, num_inference_steps=4, guidance_scale=1.5, size=(32, 32))
        values = {"prompts": ["old"], "seeds": [5], "rendering": at, **changes}
        (sample,) = generate(flux, sliders=[Slider(lora=lora, scales=(0.7,))], **values)
        return np.asarray(sample.image).astype(int)

    found = np.asarray(read_image(path)).astype(int)
    assert abs(found - render()).max() <= 1
    strange = [{"seeds": [6]}, {"prompts": [""]}]
    for change in ({"skip": 0}, {"guidance_scale": 9.0}):
        numbers = {"skip": 2, "guidance_scale": 1.5} | change
        strange.append({"rendering": Rendering(num_inference_steps=4, size=(32, 32), **numbers)})
    for other in strange:
        assert abs(found - render(**other)).max() > 1, other


def test_a_rendering_says_that_it_replaces_an_earlier_one(command, flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "strong.safetensors")
    words = [f"lora={lora.path}", "seeds=[5]", "skip=1", f"hydra.run.dir={tmp_path / 'a'}"]
    code, out, _ = command("gen", *words, "scales=[0,0.5,1]")
    assert (code, "replaced" in out) == (0, False)
    code, out, _ = command("gen", *words, "scales=[0,2]")
    assert code == 0
    assert f"{tmp_path / 'a'}: 4 files of an earlier rendering are replaced" in out
    assert len(list((tmp_path / "a/images").iterdir())) == 2


def test_the_command_draws_a_grid(command, loras, tmp_path):
    age, smile = (lora.path for lora in loras)
    words = [
        f"lora=[{age},{{path: {smile}, skip: 3}}]",
        "scales=[0,0.5,1]",
        "grid=true",
        "skip=1",
        "seeds=[4]",
    ]
    code, _, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'a'}")
    assert (code, err) == (0, "")
    images = sorted((tmp_path / "a/images").iterdir())
    assert len(images) == 9
    notes = read_metadata(tmp_path / "a/images/prompt00_seed000004_scale+0.5_+1.png")
    assert (notes["skip"], notes["lora.1.skip"]) == ("1", "3")
    assert "lora.0.skip" not in notes
    sheet = read_image(tmp_path / "a/sheet.png")
    assert 3 * 64 < sheet.height < 9 * 64
    # Rows run along the second LoRA: the left column differs from the right one in the first.
    assert all(len(places(sheet, fitted(read_image(path)))) == 1 for path in images)

    code, _, err = command("gen", *words, "animate=true")
    assert code == 1
    assert "and a grid has two" in err


def test_skips_sweep(command, loras, tmp_path):
    code, _, err = command(
        "gen",
        "-m",
        f"lora={loras[0].path}",
        "scales=[1]",
        "skip=0,1,3",
        "seeds=[1]",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )
    assert (code, err) == (0, "")
    images = {
        path.parents[1].name: read_image(path).tobytes()
        for path in (tmp_path / "sweep").glob("*/images/*.png")
    }
    assert len(images) == len(set(images.values())) == 3


def test_one_prompt_for_each_seed_is_rendered(command, flux, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("old\nyoung\nred\nblue\n")
    words = [f"prompts_file={file}", "prompts_per_seed=one", "seeds=[1,2,3]", "skip=1"]
    code, _, err = command("gen", *words, f"hydra.run.dir={tmp_path / 'a'}")
    assert (code, err) == (0, "")
    expected = choose_prompts(read_prompts(file), [1, 2, 3], "one")
    assert len(set(expected.values())) > 1
    found = {}
    for path in (tmp_path / "a/images").iterdir():
        notes = read_metadata(path)
        found[int(notes["seed"])] = notes["prompt"]
        (sample,) = generate(
            flux,
            sliders=[],
            prompts=[notes["prompt"]],
            seeds=[int(notes["seed"])],
            rendering=Rendering(skip=1, num_inference_steps=4, guidance_scale=3.5, size=(32, 32)),
        )
        difference = np.asarray(read_image(path)).astype(int) - np.asarray(sample.image)
        assert abs(difference).max() <= 1
    assert found == expected


def test_a_calibrated_slider_counts_in_pairs(command, flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    words = [f"lora={lora.path}", "seeds=[5]", "skip=1"]
    code, _, err = command("gen", *words, "calibrated=true")
    assert code == 1
    assert f"{lora.path} holds no calibration; pairedit-eval lora={lora.path}" in err
    for scale in (float("nan"), -1.0, True, "1"):
        annotate_lora(lora.path, calibration={"scale": scale})
        assert "holds no calibration" in command("gen", *words, "calibrated=true")[2]
    annotate_lora(lora.path, calibration={"scale": 0.4, "skip": 2})
    place = [f"hydra.run.dir={tmp_path / name}" for name in ("plain", "pairs")]
    assert command("gen", *words, "scales=[0.4,0.8]", place[0])[0] == 0
    code, out, err = command("gen", *words, "scales=[1,2]", "calibrated=true", place[1])
    assert (code, err) == (0, "")
    assert "was calibrated at skip=2, but this rendering has 1" in out
    plain, pairs = (sorted((tmp_path / name / "images").iterdir()) for name in ("plain", "pairs"))
    assert [path.name.split("scale")[1] for path in pairs] == ["+1.png", "+2.png"]
    for left, right in zip(plain, pairs, strict=True):
        assert read_image(left).tobytes() == read_image(right).tobytes()
        # What is written down renders it again without any calibration.
        scales = [float(read_metadata(path)["lora.0.scale"]) for path in (left, right)]
        assert scales[0] == pytest.approx(scales[1])


def test_a_scale_too_large_to_render_is_named(command, flux, tmp_path):
    lora = strong_lora(flux, tmp_path / "x.safetensors")
    words = [f"lora={lora.path}", "seeds=[5]", "skip=1", f"hydra.run.dir={tmp_path / 'out'}"]
    code, _, err = command("gen", *words, "scales=[0,1e38]")
    assert code == 1
    assert err.startswith("error: scale 1e+38: ")
    assert err.endswith("try smaller scales\n")


SHIPPED = locate("pkg://data/real")


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
        "loss.png",
        "metrics.jsonl",
        "preview.png",
        "report.json",
        "state",
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
        # The photograph stands in front of its row, twice as large as it is drawn.
        sheet = np.asarray(read_image(folder / "sheet.png"))
        photo = np.asarray(fitted(load_image(SHIPPED / "610.png", (32, 32))))
        ((y, x),) = places(sheet, photo)
        edited = read_image(folder / "images" / f"{row}_scale-0.3.png")
        drawn = sheet[y : y + 64, x + 68 : x + 132].astype(int)
        # The photograph comes back at its own pixels.
        assert edited.size == (128, 128)
        assert abs(drawn - np.asarray(edited.resize((64, 64)))).mean() < 2


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
    photo = np.asarray(fitted(load_image(SHIPPED / "610.png", (32, 32))))
    assert len(places(sheet, photo)) == 2


def test_the_sheet_shows_pairs_and_maps(command, lora, pair_folder, tmp_path):
    words = [f"lora={lora.path}", "seeds=[4]", "scales=[0,1]", "skip=1"]
    heights = {}
    for name, more in {
        "plain": [],
        "pairs": [f"pairs={pair_folder}"],
        "both": [f"pairs={pair_folder}", "differences=true"],
    }.items():
        code, _, err = command("gen", *words, *more, f"hydra.run.dir={tmp_path / name}")
        assert (code, err) == (0, "")
        heights[name] = read_image(tmp_path / name / "sheet.png").height
    assert heights["plain"] + 32 < heights["pairs"] < heights["both"] - 64
    # A picture that cannot be read costs the sheet its pairs, and nothing else.
    broken = write_pairs(tmp_path / "broken")
    (broken / "source/p1.png").write_bytes((broken / "source/p1.png").read_bytes()[:80])
    place = f"hydra.run.dir={tmp_path / 'broken-run'}"
    code, out, _ = command("gen", *words, f"pairs={broken}", place)
    assert code == 0
    assert "the sheet has no pairs of broken: " in out
    assert read_image(tmp_path / "broken-run/sheet.png").height == heights["plain"]

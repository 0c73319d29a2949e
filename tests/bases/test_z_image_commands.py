"""The commands on Z-Image, its defaults, and its folders that are refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from composing import composed
from pairedit.bases.z_image.load import load
from pairedit.bases.z_image.model import ZImage
from pairedit.bases.z_image.names import NAMES
from pairedit.lora.file import read_lora
from pairedit.plan.build import build
from pairedit.plan.model import build_model
from pairedit.problems import Problems
from pairedit.settings import step_of
from tiny import assert_same_edit
from tiny_z_image import LENGTH, NEGATIVE


@pytest.fixture
def tiny_overrides(z_image_folder):
    """Point the commands of these tests at the tiny model."""
    return [
        "model=z-image",
        f"model.path={z_image_folder}",
        f"model.max_sequence_length={LENGTH}",
        "resolution=32",
        "num_inference_steps=4",
        "device=cpu",
    ]


def option(**changes):
    return replace(build(composed("gen", "model=z-image").model, "model", ZImage), **changes)


def test_the_page_for_comfyui_has_the_steps_of_the_usual_level(z_image):
    page = Path(__file__).parents[2].joinpath("docs/comfyui.md").read_text()
    (written,) = re.findall(r"^\| `z-image` \| any \| (\d+) \| (\d+) \| (\d+) \|$", page, re.M)
    grids = [z_image.sigmas((512, 512), steps) for steps in (20, 28, 50)]
    assert [str(step_of(option().skip, grid)) for grid in grids] == list(written)


def test_by_default_a_slider_acts_where_it_does_on_flux(z_image):
    """At the noise level that FLUX.1-dev has after 11 of its 28 steps at 512 px."""
    model = option()
    sigmas = z_image.sigmas((512, 512), model.num_inference_steps)
    assert step_of(model.skip, sigmas) == 14
    assert float(sigmas[14]) == pytest.approx(0.75)
    assert len(model.modules()) == 32 * 8 + 2 * 7


def test_training_draws_as_many_high_levels_as_on_flux(z_image):
    model = option()
    sigmas = z_image.sigmas((512, 512), model.num_inference_steps)
    trained = sigmas[step_of(model.start_step, sigmas) : -1]
    assert 0.30 < float((trained > 0.8).float().mean()) < 0.35, "FLUX.1 has .32"


def test_modules_are_those_of_the_folder(z_image, z_image_folder):
    parts = z_image.transformer.named_modules()
    linears = {name for name, part in parts if isinstance(part, torch.nn.Linear)}
    inside = {name for name in linears if NAMES.block.match(name)}
    assert set(option(path=str(z_image_folder)).modules()) == inside


def test_a_slider_is_trained_rendered_measured_and_exported(command, export, pair_folder, tmp_path):
    run = tmp_path / "run"
    words = ["dataset=folder", f"pairs={pair_folder}", "steps=2", "lora.rank=2"]
    code, _, err = command("train", *words, f"hydra.run.dir={run}")
    assert not code, err
    lora = run / pair_folder.name / "semantic.safetensors"
    out = tmp_path / "images"
    words = [f"lora={lora}", "scales=[0,1]", f"negative_prompt={NEGATIVE}"]
    code, _, err = command("gen", *words, f"hydra.run.dir={out}")
    assert not code, err
    assert len(list((out / "images").iterdir())) > 1
    code, _, err = command(
        "eval", f"lora={lora}", "reader=[]", f"hydra.run.dir={tmp_path / 'report'}"
    )
    assert not code, err
    kohya = tmp_path / "kohya.safetensors"
    code, _, err = export(f"lora={lora}", "layout=kohya", f"out={kohya}")
    assert not code, err
    assert_same_edit(read_lora(lora, NAMES), read_lora(kohya, NAMES))
    code, _, err = command("gen", f"lora={kohya}", f"hydra.run.dir={tmp_path / 'again'}")
    assert not code, err


def test_a_folder_of_another_kind_is_refused(tiny_flux_folder):
    config = composed("gen", "model=z-image", f"model.path={tiny_flux_folder}")
    problems = Problems()
    build_model(config, problems)
    (problem,) = problems
    assert "holds a FluxPipeline, which model=z-image cannot read; expected model=flux-" in problem


def test_a_folder_that_is_broken_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "lacks transformer" in option(path=str(tmp_path / "empty")).problems(4.0)["path"]
    assert "0 turns guidance off" in option().problems(None)["guidance_scale"]
    with pytest.raises(ValueError, match=r"path=.*not a readable Z-Image model: "):
        load(str(tmp_path), device="cpu", precision="float32", max_sequence_length=32)

"""The commands on FLUX.2 klein, its folders that are refused, and its steps."""

import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from klein import LENGTH
from pairedit.lora.file import read_lora
from pairedit.settings import Training, step_of


def test_the_page_for_comfyui_has_the_steps_of_the_usual_level(klein):
    page = Path(__file__).parents[2].joinpath("docs/comfyui.md").read_text()
    cells = r"\| (\d+) x \d+ \| (\d+) \| (\d+) \| (\d+) \|$"
    rows = re.findall(r"^\| `flux2-klein`.* " + cells, page, re.M)
    assert len(rows) == 3
    for side, *written in rows:
        grids = [klein.sigmas((int(side), int(side)), steps) for steps in (20, 28, 50)]
        assert [str(step_of(0.75, grid)) for grid in grids] == written, side


def test_the_levels_that_training_draws_from(klein):
    sigmas = klein.sigmas((512, 512), 50)
    training = Training(num_inference_steps=50, start_step=0.9, end_step=49)
    drawn = sigmas[list(training.drawn(sigmas))]
    assert float(drawn[0]) == pytest.approx(0.9, abs=0.01)
    share = float((drawn > 0.8).float().mean())
    assert share == pytest.approx(0.32, abs=0.05), "as on FLUX.1's grid"
    whole = Training(num_inference_steps=50, end_step=49)
    assert whole.drawn(sigmas) == range(50)
    early = Training(num_inference_steps=50, start_step=0.5, end_step=10)
    with pytest.raises(ValueError, match=r"start_step=0\.5: is step \d+ here, behind end_step=10"):
        early.drawn(sigmas)


@pytest.fixture
def tiny_overrides():
    """Words that every command here ends with."""
    return ["resolution=32", "num_inference_steps=4", "device=cpu"]


@pytest.fixture
def run(command, klein_folder):
    """Run a command on the tiny klein, unless told another path."""
    own = [f"model.path={klein_folder}", f"model.max_sequence_length={LENGTH}"]
    return lambda name, *words: command(name, *own, *words)


@pytest.mark.parametrize("method", ["full", "sliders"])
def test_a_slider_is_trained_rendered_and_exported(run, export, pair_folder, tmp_path, method):
    code, _, err = run(
        "train",
        "model=flux2-klein",
        f"method={method}",
        "dataset=folder",
        f"pairs={pair_folder}",
        "steps=2",
        "lora.rank=2",
        "report=false",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert not code, err
    path = tmp_path / f"run/{pair_folder.name}/semantic.safetensors"
    lora = read_lora(path)
    assert lora.metadata["slider_passes"] == "prompt and negative prompt"
    assert lora.metadata["config"]["learning_rate"] == 0.001
    place = f"hydra.run.dir={tmp_path / 'images'}"
    code, _, err = run(
        "gen", "model=flux2-klein", f"lora={path}", "scales=[0,1]", "seeds=[1]",
        "negative_prompt=blurry", place,
    )  # fmt: skip
    assert not code, err
    assert len(list((tmp_path / "images/images").iterdir())) == 2
    code, _, err = export(f"lora={path}", "layout=kohya", f"out={tmp_path / 'k.safetensors'}")
    assert not code, err
    assert any("single_blocks_1_linear1" in key for key in load_file(tmp_path / "k.safetensors"))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("flux-dev", "holds a Flux2KleinPipeline, which model=flux-dev cannot read; expected "
         "model=flux2-klein or flux2-klein-9b or flux2-klein-fast with it"),
        ("flux2-klein-fast", "this model is not distilled; expected the model flux2-klein"),
    ],
)  # fmt: skip
def test_a_folder_of_another_kind_is_refused_with_the_right_model(run, model, reason):
    code, _, err = run("gen", f"model={model}")
    assert code
    assert reason in err


def test_a_flux1_is_no_klein(run, tiny_flux_folder):
    code, _, err = run("gen", "model=flux2-klein", f"model.path={tiny_flux_folder}")
    assert code
    assert "holds a FluxPipeline, which model=flux2-klein cannot read; expected model=" in err


def test_a_distilled_one_renders_and_does_not_train(run, klein_folder, pair_folder, tmp_path):
    fast = shutil.copytree(klein_folder, tmp_path / "fast")
    index = fast / "model_index.json"
    index.write_text(index.read_text().replace('"is_distilled": false', '"is_distilled": true'))
    words = ["model=flux2-klein-fast", f"model.path={fast}"]
    pairs = ["dataset=folder", f"pairs={pair_folder}"]
    code, _, err = run("train", *words, *pairs)
    assert code
    assert "model=flux2-klein-fast: is for rendering; train on model=flux2-klein" in err
    code, _, err = run("gen", *words, "seeds=[1]", f"hydra.run.dir={tmp_path / 'images'}")
    assert not code, err
    code, _, err = run("gen", "model=flux2-klein", f"model.path={fast}")
    assert code
    assert "this model is distilled; expected the model flux2-klein-fast" in err

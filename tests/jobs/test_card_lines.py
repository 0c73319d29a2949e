"""The card of shipped sliders and of other bases: the hub reads it, its lines draw the picture."""

import re

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from pairedit.bases.flux1.names import NAMES
from pairedit.data.examples import find_pairs
from pairedit.files import CONF, locate
from pairedit.lora.file import read_lora, write_lora
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from tiny import random_lora

AGE = locate("pkg://data/sliders/age.safetensors")
CODE = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Export a shipped slider's folder once."""
    from composing import composed
    from pairedit.jobs.export import run_export
    from pairedit.plan.export import plan_export

    folder = tmp_path_factory.mktemp("hub") / "age"
    words = [f"lora={AGE}", "card=true", f"out={folder}"]
    run_export(plan_export(composed("export", *words)))
    return folder


def test_the_hub_reads_the_card(shipped):
    card = ModelCard.load(shipped / "README.md")
    content = (shipped / "README.md").read_text()
    assert str(card) == content  # nothing is lost on the way through the hub's own classes
    said = card.data.to_dict()
    assert said["library_name"] == "diffusers"
    assert said["pipeline_tag"] == "text-to-image"
    assert {"lora", "diffusers", "slider", "template:diffusion-lora"} <= set(said["tags"])
    assert said["license"] == "apache-2.0"
    assert "base_model" not in said  # flux-mini is not on the hub
    for picture in said["widget"]:
        assert (shipped / picture["output"]["url"]).is_file()
    for file in re.findall(r"!\[.*?\]\((.*?)\)", card.text):
        assert (shipped / file).is_file()
    assert len(find_pairs(locate("pkg://data/age"))) == 3
    for words in (
        "from 3 pairs of images",
        "**Scale 0.63**",
        "from step 19 of 28 on, which is noise level 0.43",
        "No trigger word is needed",
        "rank: 4",
    ):
        assert words in card.text
    assert "What was measured" not in card.text


def run(code: str, places: dict[str, str]) -> np.ndarray:
    """Run the lines of a card on a CPU, in a folder of their own; return their picture."""
    for old, new in places.items():
        assert old in code
        code = code.replace(old, new)
    names = {}
    exec(code, names)
    return np.asarray(names["image"]).astype(int)


def test_its_lines_for_diffusers_draw_what_pairedit_draws(shipped, mini, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = CODE.findall((shipped / "README.md").read_text())
    # A third of the steps, at the same share of them.
    quick = {"USER/NAME": str(shipped), "steps = 28": "steps = 9", "first = 19": "first = 6"}
    found = run(code, quick)
    assert (tmp_path / "slider.png").is_file()
    slider = Slider(lora=read_lora(AGE, NAMES), scales=(0.0, 0.63), skip=6)
    rendering = Rendering(num_inference_steps=9, size=(128, 128))
    prompts = ["image of a person"]
    zero, one = generate(mini, sliders=[slider], prompts=prompts, seeds=[0], rendering=rendering)
    assert np.abs(found - np.asarray(one.image)).max() <= 1
    assert np.abs(found - np.asarray(zero.image)).max() > 30


def klein(folder):
    from klein import write_klein
    from pairedit.bases.flux2.load import load

    return load(
        str(write_klein(folder)), device="cpu", precision="float32", max_sequence_length=512
    )


def z_image(folder):
    from pairedit.bases.z_image.load import load
    from tiny_z_image import write_z_image

    return load(
        str(write_z_image(folder)), device="cpu", precision="float32", max_sequence_length=512
    )


@pytest.mark.parametrize(("name", "opened"), [("flux2-klein", klein), ("z-image", z_image)])
def test_other_bases_have_lines_too_and_schedules_act(export, tmp_path, monkeypatch, name, opened):
    monkeypatch.chdir(tmp_path)
    base = opened(tmp_path / "base")
    lora = random_lora(base, tmp_path / "x.safetensors", sigma=2.0)
    option = yaml.safe_load((CONF / f"model/{name}.yaml").read_text())
    config = {"model": option, "num_inference_steps": 5, "guidance_scale": 2.0, "resolution": 32}
    notes = {
        "base_model": name,
        "dataset": "age",
        "config": config,
        "use": {"skip": 0.8, "local": False, "schedule": 1.0, "flowedit": True, "by": "probe"},
    }
    write_lora(lora.path, lora.weights, notes, names=base.names)
    code, out, err = export(f"lora={lora.path}", "card=true", "out=hub")
    assert code == 0, err
    assert "not in the card: the scale that is worth one pair: pairedit-eval lora=" in out
    card = ModelCard.load(tmp_path / "hub/README.md")
    assert card.data.base_model == option["path"]
    assert card.data.to_dict()["base_model_relation"] == "adapter"
    assert "from noise level 0.8 down" in card.text
    assert "schedule is early" in card.text
    assert "`flowedit=true`, which edits the finished picture" in card.text
    assert "KSamplerAdvanced" in card.text
    assert not (tmp_path / "hub/workflow.json").exists()
    (lines,) = CODE.findall(card.text)
    places = {
        "USER/NAME": "hub",
        option["path"]: str(tmp_path / "base"),
        "bfloat16": "float32",
        'pipe.to("cuda")': "",
    }
    found = run(lines, places)
    slider = Slider(lora=lora, scales=(0.0, 0.4), skip=0.8, lean=1.0)
    numbers = {"num_inference_steps": 5, "guidance_scale": 2.0, "size": (32, 32)}
    prompts = [option["prompt"]]
    zero, one = generate(
        base, sliders=[slider], prompts=prompts, seeds=[0], rendering=Rendering(**numbers)
    )
    assert np.abs(found - np.asarray(one.image)).max() <= 1
    assert np.abs(found - np.asarray(zero.image)).max() > 5

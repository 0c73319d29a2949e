"""The files of the published code run as they are."""

import pytest
import yaml

from composing import composed
from pairedit.plan.published import translate
from pairedit.plan.train import plan_train
from tiny import picture, write_pairs

# The values of the published train_image.yaml; train_image_real.yaml changes and adds a few.
IMAGE = """
device: 0
pretrained_model_name_or_path: black-forest-labs/FLUX.1-dev
python_name: train_image
datasets_folder: datasets
datasets: [age]
source_folder: source
target_folder: target
config_name: base
start_step: 0
end_step: 27
num_inference_steps: 28
guidance_scale: 3.5
cfg_eta: 4
noise_scales: [1]
train_iteration: 500
save_per_steps: 500
train_start: 1
train_count: 1
train_method: full
output_folder: output/models/image/
use_trained_lora_path: 0
trained_lora_path: ""
use_prompts_file: 0
prompts_file: [prompts-person.yaml]
use_random_seed: 0
output_folder_gen: output/eval/image/
prompt: [image of a person]
skips: [14]
start_seed_gen: 6666
scales: 0,0.2,0.4,0.6,0.8,1.0
count_gen: 2
"""
REAL = """
device: 1
python_name: train_image_real
datasets: [real_person]
train_iteration: 1500
image_ids: [610, 1743]
semantic_lora_path: output/models/pretrained/elf.pt
semantic_cfg_scale: 0.75
"""


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Lay the published files and what they name into the working folder."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "datasets/age")
    for name in ("610", "1743"):
        picture(tmp_path / f"datasets/real_person/source/{name}.png")
    image = yaml.safe_load(IMAGE)
    return {"image": image, "real": image | yaml.safe_load(REAL)}


def test_the_published_files_run_as_they_are(published):
    notes = []
    words = translate("train", published["image"], "x", notes=notes)
    plan = plan_train(composed("train", *ours(words)), method_name="full")
    assert (list(plan.pairs), notes) == (["age"], [])
    training = plan.training
    assert (training.targets, training.seed, training.steps) == ("attention", 1, 500)
    words = translate("gen", published["image"], "x")
    assert {
        "lora='output/models/image/age/semantic.safetensors'",
        "prompts=['image of a person']",
        "scales=[0,0.2,0.4,0.6,0.8,1.0]",
        "skip=15",
        "seeds={start: 6666, count: 2}",
        "device='auto'",
    } <= set(words)
    words = translate("train", published["real"], "x", notes=notes)
    plan = plan_train(composed("train", *ours(words)), method_name="inversion")
    assert list(plan.pairs) == ["610", "1743"]
    assert "CUDA_VISIBLE_DEVICES=1" in notes[0]
    words = translate("gen", published["real"], "x")
    assert {
        "lora='output/models/pretrained/elf.pt'",
        "content_lora='output/models/image/'",
        "edit=real_published",
        "skip=14",
    } <= set(words)


def ours(words):
    """Leave out what only a machine with the model has."""
    return [w for w in words if not w.startswith(("hydra.", "model.path="))] + [
        "model.path=black-forest-labs/FLUX.1-dev"
    ]


def test_a_trained_lora_is_the_content_lora_where_images_are_edited(published):
    old = published["real"] | {"use_trained_lora_path": 1, "trained_lora_path": "age_0.pt"}
    words = translate("gen", old, "x")
    assert {"lora='output/models/pretrained/elf.pt'", "content_lora=['age_0.pt']"} <= set(words)
    old = published["image"] | {"use_trained_lora_path": 1, "trained_lora_path": "age.pt"}
    assert "lora='age.pt'" in translate("gen", old, "x")
    with pytest.raises(ValueError, match="trained_lora_path is missing"):
        translate("gen", old | {"trained_lora_path": ""}, "x")


@pytest.mark.parametrize(
    ("command_name", "key", "values"),
    [
        ("gen", "device", [0, "0", "cuda:0", [0]]),
        ("train", "datasets", ["age", ["age"], "age,", "[age]"]),
        ("train", "train_iteration", [500, "500", 500.0, "5e2", [500]]),
        ("train", "cfg_eta", [4, "4", [4]]),
        ("train", "noise_scales", [[1], 1, "1", ["1"]]),
        ("train", "train_method", ["full", ["full"]]),
        ("gen", "scales", ["0,0.5", [0, 0.5], "0, 0.5", "[0 0.5]", ["0", "0.5"]]),
        ("gen", "skips", [14, "14", [14], "[14]", 14.0]),
        ("gen", "prompt", ["a, b", ["a, b"]]),
        ("gen", "use_random_seed", [0, False, "0", "false", "False", None, ""]),
        ("gen", "use_prompts_file", [1, True, "1", "yes", "True", [1]]),
        ("gen", "trained_lora_path", ["", None, [], "None"]),
        ("gen", "start_seed_gen", [6666, "6666", [6666]]),
        ("gen", "semantic_lora_path", ["x.pt", ["x.pt"]]),
        ("gen", "prompts_file", ["x.yaml", ["x.yaml"]]),
    ],
)
def test_a_value_may_come_as_any_type(published, command_name, key, values):
    base = published["image"] | {"use_prompts_file": int(key == "prompts_file")}
    found = [translate(command_name, base | {key: value}, "x") for value in values]
    if key == "device":
        found = [[w for w in words if not w.startswith("device=")] for words in found]
    assert all(words == found[0] for words in found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("train_iteration", value) for value in ("many", True, 1.5, [1, 2], {"a": 1}, "inf")),
        *(("scales", value) for value in ("a,b", [[0]], {"a": 1}, [None, "x"], "nan")),
        *(("use_random_seed", value) for value in (2, "maybe", [0, 1])),
        *(("datasets", value) for value in ({"a": 1}, [["a"]], [True])),
        ("prompt", {"a": 1}),
        ("output_folder", ["a", "b"]),
    ],
)
def test_a_value_of_no_use_is_named(published, key, value):
    with pytest.raises(ValueError, match=rf"^x: (2 problems.*)?{key}=|- {key}="):
        translate("gen", published["image"] | {key: value}, "x", ["lora=x"])


def test_each_dataset_has_its_prompt_and_the_last_holds_for_the_rest(published):
    old = published["image"] | {"datasets": ["age", "smile", "beard"], "prompt": ["a", "b"]}
    for name, prompt in (("age", "a"), ("smile", "b"), ("beard", "b")):
        words = translate("gen", old, "x", [f"lora=runs/{name}/semantic.safetensors"])
        assert f"prompts=['{prompt}']" in words
    with pytest.raises(ValueError, match="one for each of 3 datasets"):
        translate("gen", old, "x")
    words = translate("gen", old | {"prompt": "a"}, "x")
    assert sum(word.count("semantic.safetensors") for word in words) == 3
    notes = []
    old = published["image"] | {"prompt": ["a", "b", "c"]}
    assert "prompts=['a']" in translate("gen", old, "x", notes=notes)
    assert notes == ["prompt: each dataset has one, so the last 2 of 3 are not used"]

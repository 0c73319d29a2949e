"""Old YAML files: every key is translated, said to be without effect, or refused by name."""

import re
from pathlib import Path

import pytest
import yaml

from composing import composed
from pairedit.lora.file import read_lora
from pairedit.pictures.png import read_metadata
from pairedit.plan.gen import plan_gen
from pairedit.plan.oldvalues import KEYS, LABELS
from pairedit.plan.published import expand, translate
from pairedit.plan.train import plan_train
from tiny import strong_lora, write_pairs

ISSUE = """device, pretrained_model_name_or_path, python_name, datasets_folder, datasets,
source_folder, target_folder, config_name, start_step, end_step, num_inference_steps,
guidance_scale, cfg_eta, noise_scales, train_iteration, save_per_steps, train_start, train_count,
output_folder, train_method, use_trained_lora_path, trained_lora_path, use_prompts_file,
prompts_file, use_random_seed, output_folder_gen, prompt, skips, start_seed_gen, scales, count_gen,
image_ids, semantic_lora_path, semantic_cfg_scale"""


QUIET = ("preview=false", "report=false")


def test_every_old_key_is_known_and_in_the_table():
    assert set(KEYS) == set(re.split(r",\s+", ISSUE))
    page = (Path(__file__).parents[2] / "docs/files.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page.split("| old key |")[1], flags=re.M)
    named = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(KEYS)


@pytest.fixture
def old(tmp_path, tiny_flux_folder):
    """Write an old file with every key of a plain training and rendering, some changed."""
    write_pairs(tmp_path / "data/my edit", count=2)
    for side, name in (("source", "before"), ("target", "after")):
        (tmp_path / "data/my edit" / side).rename(tmp_path / "data/my edit" / name)

    def write(**changes):
        content = {
            "device": "cpu",
            "pretrained_model_name_or_path": str(tiny_flux_folder),
            "python_name": "train.py",
            "config_name": "train_image",
            "datasets_folder": str(tmp_path / "data"),
            "datasets": ["my edit"],
            "source_folder": "before",
            "target_folder": "after",
            "start_step": 1,
            "end_step": 4,
            "num_inference_steps": 4,
            "guidance_scale": 3.5,
            "cfg_eta": 3,
            "noise_scales": [2],
            "train_iteration": 2,
            "save_per_steps": 1,
            "train_start": 0,
            "train_count": 1,
            "output_folder": str(tmp_path / "runs"),
            "train_method": "full",
            "use_trained_lora_path": False,
            "trained_lora_path": None,
            "use_prompts_file": False,
            "prompts_file": "prompts.txt",
            "use_random_seed": False,
            "output_folder_gen": str(tmp_path / "images"),
            "prompt": "image of a person, it's old",
            "skips": [1],
            "start_seed_gen": 5,
            "scales": [0, 0.5],
            "count_gen": 2,
            "image_ids": [],
            "semantic_lora_path": None,
            "semantic_cfg_scale": 0.75,
        }
        content = {key: value for key, value in {**content, **changes}.items() if value != "absent"}
        path = tmp_path / "train_image.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def keys(words):
    return [word for word in words if not word.startswith("hydra.")]


def test_each_half_becomes_a_plan(old, tmp_path):
    path = old(save_per_steps=9)
    words = expand("train", [f"old={path}", "resolution=32"])
    assert "-m" not in words
    plan = plan_train(composed("train", *keys(words)), method_name="full")
    assert {name: len(pairs) for name, pairs in plan.pairs.items()} == {"my edit": 2}
    assert plan.pairs["my edit"][0].source.parent.name == "before"
    training = plan.training
    assert (training.start_step, training.end_step, training.seed) == (1, 3, 0)
    assert (training.steps, training.snapshots) == (2, False)
    assert (plan.method.eta, plan.method.noising.noise_scale) == (3, 2)
    assert plan.model.path == yaml.safe_load(path.read_text())["pretrained_model_name_or_path"]
    assert plan.device == "cpu"

    path = old(use_trained_lora_path=True, trained_lora_path=str(tmp_path / "x.pt"))
    with pytest.raises(ValueError, match=r"x\.pt: no such LoRA"):
        plan_gen(composed("gen", *keys(expand("gen", [f"old={path}"])), "resolution=32"))
    words = expand("gen", [f"old={path}"])
    config = composed("gen", *keys(words))
    assert (config.skip, list(config.scales)) == (2, [0, 0.5])
    assert dict(config.seeds) == {"start": 5, "count": 2}
    assert list(config.prompts) == ["image of a person, it's old"]


def test_an_old_file_trains_and_renders(command, old, tmp_path):
    path = old()
    code, out, err = command("train", f"old={path}", "lora.rank=2", *QUIET)
    assert (code, err) == (0, "")
    lora = tmp_path / "runs/my edit/semantic.safetensors"
    assert read_lora(lora).metadata["config"]["noise_scale"] == 2
    assert (tmp_path / "runs/my edit/content-000001.safetensors").exists()
    code, out, err = command("gen", f"old={path}", f"lora='{lora}'")
    assert (code, err) == (0, "")
    images = sorted((tmp_path / "images/images").iterdir())
    assert len(images) == 4
    notes = read_metadata(images[0])
    assert (notes["skip"], notes["prompt"]) == ("2", "image of a person, it's old")
    assert out


def test_an_old_file_learns_and_edits_real_images(command, flux, old, tmp_path):
    path = old(image_ids=["p1", "p0"])
    words = ["lora.rank=2", *QUIET]
    code, _, err = command("train", f"old={path}", *words)
    assert (code, err) == (0, "")
    assert (tmp_path / "runs/p0/content-000001.safetensors").exists()
    config = read_lora(tmp_path / "runs/p1/content.safetensors").metadata["config"]
    assert (config["image_ids"], config["steps"]) == (["p1", "p0"], 2)

    lora = strong_lora(flux, tmp_path / "semantic.safetensors")
    code, _, err = command("gen", f"old={path}", f"lora={lora.path}")
    assert (code, err) == (0, "")
    images = sorted(path.name for path in (tmp_path / "images/images").iterdir())
    lanes = [f"prompt00_image-p{image}_seed00000{seed}" for image in (0, 1) for seed in (5, 6)]
    assert images == sorted(
        [f"{lane}_scale{scale}.png" for lane in lanes for scale in ("+0", "+0.5")]
    )
    notes = read_metadata(tmp_path / "images/images" / images[0])
    assert (notes["published"], notes["semantic_cfg_scale"]) == ("True", "0.75")
    assert (notes["inversion"], notes["skip"]) == ("lora", "1")


def test_lists_become_a_multirun(command, old, tmp_path):
    write_pairs(tmp_path / "data/b")
    for side, name in (("source", "before"), ("target", "after")):
        (tmp_path / "data/b" / side).rename(tmp_path / "data/b" / name)
    path = old(noise_scales=[1, 2], train_count=2, datasets=["my edit", "b"])
    words = expand("train", [f"old={path}"])
    assert words[0] == "-m"
    assert {"noise_scale=1,2", "seed=0,1"} <= set(words)
    code, _, err = command("train", f"old={path}", "lora.rank=1", *QUIET, "seed=3")
    assert (code, err) == (0, "")
    for name in ("my edit", "b"):
        assert len(list((tmp_path / "runs").glob(f"*/{name}/semantic.safetensors"))) == 2
    assert expand("gen", [f"old={old(skips=[1, 2])}", "lora=x"])[0] == "-m"
    assert "skip=2,3" in expand("gen", [f"old={path}", "lora=x"])


def test_the_command_line_wins(old):
    words = expand("train", [f"old={old()}", "cfg_eta=7", "dataset=age", "model=flux-mini"])
    config = composed("train", *keys(words))
    assert config.cfg_eta == 7
    assert list(config.datasets) == ["age"]
    assert config.model.path == "pkg://flux_mini"
    assert "method=full" in words
    assert "method=fm" in expand("train", [f"old={old()}", "method=fm"])


def test_other_halves_and_options():
    old = {"datasets_folder": "d", "datasets": "real", "image_ids": [610, "1743"]}
    words = translate("train", old, "x")
    assert {"method=inversion", "dataset=real", "image_ids=[610,'1743']"} <= set(words)
    old = {"semantic_lora_path": "a.pt", "image_ids": [610], "skips": 11, "semantic_cfg_scale": 0.5}
    words = translate("gen", old, "x", ["image", "content_lora"])
    plain = {"local=false", "schedule=flat", "flowedit=false"}
    published = {"edit=real_published", "semantic_cfg_scale=0.5", "lora='a.pt'", "skip=11"}
    assert set(words) == published | plain
    old = {"use_prompts_file": True, "prompts_file": "p.txt", "prompt": "x", "count_gen": 3}
    words = translate("gen", old | {"use_random_seed": True}, "x", ["lora"])
    assert set(words) == {
        "prompts_file='p.txt'",
        "prompts_per_seed=one",
        "seeds={random: 3}",
        *plain,
    }
    flux = {"datasets": "a", "pretrained_model_name_or_path": "black-forest-labs/FLUX.1-schnell"}
    assert "model=flux-schnell" in translate("train", flux, "x")
    assert translate("export", {}, "x", ["lora"]) == []
    assert expand("export", ["old=x"]) == ["old=x"]


@pytest.mark.parametrize(
    ("command_name", "changes", "reasons"),
    [
        (
            "train",
            {
                "device": "gpu:x",
                "train_method": "xattn",
                "lr": 1,
                "use_trained_lora_path": True,
                "train_count": 0,
            },
            [
                *("device=gpu:x", "train_method=xattn", "lr: is not a key of"),
                *("pairedit-gen", "train_count=0", "5 problems"),
            ],
        ),
        ("train", {"datasets": "absent"}, ["datasets: expected the name"]),
        ("train", {"train_iteration": "many", "skips": [1.5]}, ["train_iteration=many", "skips="]),
        ("gen", {"output_folder": "absent"}, ["add lora=PATH"]),
        ("gen", {"train_count": 2}, ["add lora=PATH"]),
        ("gen", {"image_ids": [1], "semantic_lora_path": "a"}, ["no 1 in", "there is p0, p1"]),
        (
            "gen",
            {"image_ids": ["p0"], "output_folder": "absent", "semantic_lora_path": "a"},
            ["add content_lora=PATH"],
        ),
        (
            "gen",
            {"use_prompts_file": True, "prompts_file": None, "semantic_lora_path": "a"},
            ["prompts_file is missing"],
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_all_at_once(old, command_name, changes, reasons):
    path = old(**changes)
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")) as refused:
        expand(command_name, [f"old={path}"])
    assert all(reason in str(refused.value) for reason in reasons), refused.value


def test_files_that_cannot_be_read_are_named(command, tmp_path):
    code, _, err = command("train", "old=/nowhere.yaml")
    assert (code, err) == (1, "error: old=/nowhere.yaml: no such file or directory\n")
    for content in ("a: [", "- 1"):
        (tmp_path / "bad.yaml").write_text(content)
        with pytest.raises(ValueError, match=r"old=.*bad\.yaml: "):
            expand("gen", [f"old={tmp_path / 'bad.yaml'}"])
    assert set(LABELS) < set(KEYS)

"""The ComfyUI workflow of a slider: native nodes, their fields and links, skip and strength."""

import json

import pytest
import torch

from pairedit.bases.flux1.names import NAMES
from pairedit.bases.flux1.workflow import make_workflow
from pairedit.lora.file import write_lora

# Nodes of ComfyUI 0.3.64 and 0.19.3: fields, those that are optional, kinds of outputs.
NODES = {
    "UNETLoader": ({"unet_name", "weight_dtype"}, set(), ["MODEL"]),
    "DualCLIPLoader": ({"clip_name1", "clip_name2", "type"}, {"device"}, ["CLIP"]),
    "VAELoader": ({"vae_name"}, set(), ["VAE"]),
    "ModelSamplingFlux": (
        {"model", "max_shift", "base_shift", "width", "height"},
        set(),
        ["MODEL"],
    ),
    "CLIPTextEncode": ({"clip", "text"}, set(), ["CONDITIONING"]),
    "FluxGuidance": ({"conditioning", "guidance"}, set(), ["CONDITIONING"]),
    "EmptySD3LatentImage": ({"width", "height", "batch_size"}, set(), ["LATENT"]),
    "LoraLoaderModelOnly": ({"model", "lora_name", "strength_model"}, set(), ["MODEL"]),
    "CreateHookLoraModelOnly": ({"lora_name", "strength_model"}, {"prev_hooks"}, ["HOOKS"]),
    "CreateHookKeyframe": ({"strength_mult", "start_percent"}, {"prev_hook_kf"}, ["HOOK_KF"]),
    "SetHookKeyframes": ({"hooks"}, {"hook_kf"}, ["HOOKS"]),
    "ConditioningSetProperties": (
        {"cond_NEW", "strength", "set_cond_area"},
        {"mask", "hooks", "timesteps"},
        ["CONDITIONING"],
    ),
    "KSampler": (
        {
            *("model", "seed", "steps", "cfg", "sampler_name", "scheduler"),
            *("positive", "negative", "latent_image", "denoise"),
        },
        set(),
        ["LATENT"],
    ),
    "VAEDecode": ({"samples", "vae"}, set(), ["IMAGE"]),
    "SaveImage": ({"images", "filename_prefix"}, set(), []),
}
KINDS = {
    "model": "MODEL",
    "clip": "CLIP",
    "vae": "VAE",
    "samples": "LATENT",
    "images": "IMAGE",
    **dict.fromkeys(("positive", "negative", "conditioning", "cond_NEW"), "CONDITIONING"),
    "latent_image": "LATENT",
    "hooks": "HOOKS",
    "hook_kf": "HOOK_KF",
    "prev_hook_kf": "HOOK_KF",
}
WORDS = {
    "lora": "age.safetensors",
    "strength": 0.43,
    "steps": 28,
    "guidance_scale": 3.5,
    "resolution": 512,
    "prompt": "a person",
}


def check(nodes):
    """Check nodes as ComfyUI does before it runs them; all of them are reached."""
    reached, waiting = set(), ["saved"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        needed, optional, _ = NODES[nodes[name]["class_type"]]
        inputs = nodes[name]["inputs"]
        assert needed <= set(inputs) <= needed | optional, name
        for field, value in inputs.items():
            if field not in KINDS:
                assert not isinstance(value, list), field
                continue
            source, output = value
            assert NODES[nodes[source]["class_type"]][2][output] == KINDS[field]
            waiting.append(source)
    assert reached == set(nodes)


@pytest.mark.parametrize("skip", [0, 1, 11, 27])
@pytest.mark.parametrize("guidance", [3.5, None])
def test_fields_and_links_are_those_of_native_nodes(skip, guidance):
    nodes = make_workflow(**WORDS | {"guidance_scale": guidance}, skip=skip)
    check(nodes)
    sampler = nodes["sampled"]["inputs"]
    assert (sampler["cfg"], sampler["sampler_name"], sampler["scheduler"]) == (
        1.0,
        "euler",
        "simple",
    )
    assert nodes["shifted"]["inputs"].items() >= {"max_shift": 1.15, "base_shift": 0.5}.items()
    assert nodes["slider"]["inputs"]["strength_model"] == 0.43
    kinds = [node["class_type"] for node in nodes.values()]
    assert ("FluxGuidance" in kinds) is (guidance is not None)
    assert kinds.count("CreateHookKeyframe") == (2 if skip else 0)


@pytest.mark.parametrize("steps", [20, 28, 50])
def test_the_keyframe_starts_exactly_at_the_step(steps):
    """ComfyUI's rule: a keyframe acts once sigma is at or below that of its percent."""
    for skip in range(1, steps):
        p = make_workflow(**WORDS | {"steps": steps}, skip=skip)["on"]["inputs"]["start_percent"]
        assert p == round(p, 3)
        # `simple` takes every steps-th part of the schedule, so a step's percent is k / steps.
        assert next(k for k in range(steps) if k / steps >= p) == skip
    assert make_workflow(**WORDS, skip=11)["on"]["inputs"]["start_percent"] == 0.375
    assert make_workflow(**WORDS, skip=18)["on"]["inputs"]["start_percent"] == 0.625


@pytest.fixture
def lora(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair = (torch.ones(2, 8), torch.ones(8, 2))
    config = {"resolution": 768, "num_inference_steps": 20, "guidance_scale": 2.5}
    config["model"] = {"skip": 8, "prompt": "a woman"}
    notes = {"base_model": "flux-dev", "dataset": "age", "config": config}
    notes["calibration"] = {"scale": 0.37, "skip": 14, "num_inference_steps": 28}
    path = tmp_path / "age.safetensors"
    write_lora(path, {"transformer_blocks.0.attn.to_q": pair}, notes, names=NAMES)
    return path


def test_the_command_writes_one(export, lora, tmp_path):
    code, out, err = export(f"lora={lora}", "layout=kohya", "workflow=true")
    assert (code, err) == (0, "")
    path = tmp_path / "age-kohya-workflow.json"
    assert out.splitlines()[-1] == f"workflow: {path}"
    nodes = json.loads(path.read_text())
    check(nodes)
    assert nodes["slider"]["inputs"] == {
        "lora_name": "age-kohya.safetensors",
        "strength_model": 0.37,
    }
    assert nodes["on"]["inputs"]["start_percent"] == round(13.5 / 28, 3)
    assert nodes["sampled"]["inputs"]["steps"] == 28
    assert nodes["guided"]["inputs"]["guidance"] == 2.5
    assert nodes["noise"]["inputs"] == {"width": 768, "height": 768, "batch_size": 1}
    assert nodes["prompt"]["inputs"]["text"] == "a woman"


def test_a_slider_without_calibration_is_told_of(export, lora):
    from pairedit.lora.file import annotate_lora

    annotate_lora(lora, calibration=None)
    code, out, err = export(f"lora={lora}", "out=x.safetensors", "workflow=true")
    assert (code, err) == (0, "")
    assert "not calibrated, so the workflow has strength 0.4; pairedit-eval lora=" in out
    nodes = json.loads(lora.with_name("x-workflow.json").read_text())
    assert nodes["on"]["inputs"]["start_percent"] == round(7.5 / 20, 3)


def test_a_use_that_the_workflow_does_not_follow_is_told_of(export, lora):
    from pairedit.lora.file import annotate_lora

    annotate_lora(lora, use={"skip": 0.6, "local": True, "schedule": 1.0, "by": "probe"})
    code, out, _ = export(f"lora={lora}", "out=x.safetensors", "workflow=true")
    assert code == 0
    assert "best used with skip=0.6 local=true schedule=early; the workflow lets it act" in out
    # A calibration brings its skip along; with nothing else noted the workflow is as measured.
    annotate_lora(lora, use={"skip": 0.6, "local": False, "schedule": 0.0, "by": "probe"})
    assert "best used" not in export(f"lora={lora}", "out=y.safetensors", "workflow=true")[1]


def test_what_comfyui_cannot_read_is_refused(export, lora):
    for words in (["layout=published"], ["out=x.pt"]):
        code, _, err = export(f"lora={lora}", *words, "workflow=true")
        assert code == 1
        assert "workflow=true: ComfyUI does not read" in err
    assert [path.name for path in lora.parent.iterdir()] == [lora.name]

"""The ComfyUI workflow of a slider: native nodes, their fields and links, skip and strength."""

import json

import pytest
import torch

from pairedit.bases.flux1.names import NAMES
from pairedit.bases.flux1.workflow import make_workflow
from pairedit.lora.file import write_lora
from pairedit.schedules import strength
from pairedit.settings import step_of
from tiny import open_flux

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
    "size": (512, 512),
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
            assert source in nodes
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
        p = make_workflow(**WORDS | {"steps": steps}, skip=skip)
        p = p[f"from{skip}"]["inputs"]["start_percent"]
        assert p == round(p, 3)
        # `simple` takes every steps-th part of the schedule, so a step's percent is k / steps.
        assert next(k for k in range(steps) if k / steps >= p) == skip
    for skip, p in ((11, 0.375), (18, 0.625), (20, 0.696)):
        nodes = make_workflow(**WORDS, skip=skip)
        assert nodes[f"from{skip}"]["inputs"]["start_percent"] == p


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
    assert nodes["from14"]["inputs"]["start_percent"] == round(13.5 / 28, 3)
    assert nodes["sampled"]["inputs"]["steps"] == 28
    assert nodes["guided"]["inputs"]["guidance"] == 2.5
    assert nodes["noise"]["inputs"] == {"width": 768, "height": 768, "batch_size": 1}
    assert nodes["prompt"]["inputs"]["text"] == "a woman"


def test_a_slider_without_calibration_is_told_of(export, lora):
    from pairedit.lora.file import annotate_lora

    annotate_lora(lora, calibration=None)
    code, out, err = export(f"lora={lora}", "out=x.safetensors", "workflow=true")
    assert (code, err) == (0, "")
    assert "not calibrated, so the workflow's strength 0.4 is a guess; pairedit-eval lora=" in out
    nodes = json.loads(lora.with_name("x-workflow.json").read_text())
    assert nodes["from8"]["inputs"]["start_percent"] == round(7.5 / 20, 3)


def test_a_base_that_comfyui_does_not_know_is_told_of(export, lora):
    from pairedit.lora.file import annotate_lora

    for base, said in (("flux-krea", 0), ("flux-mini", 1)):
        annotate_lora(lora, base_model=base)
        code, out, _ = export(f"lora={lora}", f"out={base}.safetensors", "workflow=true")
        assert code == 0
        assert out.count(f"ComfyUI has no {base}, so this slider does nothing useful") == said
        assert out.count("is for a slider that was trained with model=flux-dev") == said


def factors(nodes):
    """Return what the hook multiplies the strength by at each step, by ComfyUI's rule.

    A keyframe acts from the first step on whose percent has come, and the last one set counts.
    """
    frames, name = [], nodes["timed"]["inputs"]["hook_kf"][0]
    while name:
        inputs = nodes[name]["inputs"]
        frames.insert(0, (inputs["start_percent"], inputs["strength_mult"]))
        name = inputs.get("prev_hook_kf", [None])[0]
    assert frames == sorted(frames)
    assert frames[0][0] == 0
    steps = nodes["sampled"]["inputs"]["steps"]
    return [[m for p, m in frames if p <= k / steps][-1] for k in range(steps)]


@pytest.mark.parametrize("steps", [1, 4, 20, 28, 50])
@pytest.mark.parametrize("lean", [0.0, 1.0, -1.0, 0.4])
def test_the_hook_is_as_strong_as_the_slider_at_every_step(steps, lean):
    for skip in {0, steps // 3, steps - 1}:
        nodes = make_workflow(**WORDS | {"steps": steps}, skip=skip, lean=lean)
        check(nodes)
        if not skip and not lean:
            assert "timed" not in nodes
            continue
        expected = [0.0] * skip + [strength(lean, k, skip, steps) for k in range(skip, steps)]
        assert factors(nodes) == pytest.approx(expected, abs=1e-4)


def test_a_noise_level_is_the_step_that_the_model_has_there(tiny_flux_folder):
    """The base counts its levels in torch, the workflow without."""
    flux = open_flux(tiny_flux_folder)
    for resolution in (256, 512, 1024):
        for steps in (20, 28):
            sigmas = flux.sigmas((resolution, resolution), steps)
            for level in (0.95, 0.8, 0.6, 0.31):
                words = WORDS | {"steps": steps, "size": (resolution, resolution)}
                ours = factors(make_workflow(**words, skip=level))
                assert ours.count(0.0) == step_of(level, sigmas), (resolution, steps, level)
    even = make_workflow(**WORDS | {"steps": 4}, skip=0.5, model="flux-schnell")
    assert factors(even) == [0, 0, 1, 1]
    shifts = even["shifted"]["inputs"]
    assert (shifts["max_shift"], shifts["base_shift"]) == (0, 0)


def test_a_noted_use_is_followed(export, lora):
    from pairedit.lora.file import annotate_lora

    def written(name, **notes):
        annotate_lora(lora, **notes)
        code, out, _ = export(f"lora={lora}", f"out={name}.safetensors", "workflow=true")
        assert code == 0
        nodes = json.loads(lora.with_name(f"{name}-workflow.json").read_text())
        check(nodes)
        return nodes, out

    use = {"skip": 0.6, "local": True, "schedule": 1.0, "by": "probe"}
    nodes, out = written("x", use=use)
    assert out.count("best used with local=true, which ComfyUI's own nodes cannot do") == 1
    found = factors(nodes)
    first = found.count(0.0) - 1  # early ends at nothing, too
    assert first == 17
    assert found == pytest.approx(
        [0] * 17 + [strength(1, k, 17, 28) for k in range(17, 28)], abs=1e-4
    )
    # Nobody has calibrated it: the steps of the base model, and the noted level among them.
    nodes, out = written("y", use=use | {"local": False, "schedule": 0.0}, calibration=None)
    assert "best used" not in out
    assert factors(nodes) == [0] * 12 + [1] * 8
    # A use without skip: where the base model's sliders set in.
    use = {"local": False, "schedule": -1.0, "flowedit": True, "by": "pairs"}
    nodes, out = written("z", use=use)
    assert out.count("best used with flowedit=true, which ComfyUI's own nodes cannot do") == 1
    assert "its strength was found with flowedit=true" not in out
    assert factors(nodes) == pytest.approx(
        [0] * 8 + [strength(-1, k, 8, 20) for k in range(8, 20)], abs=1e-4
    )


def test_what_comfyui_cannot_read_is_refused(export, lora):
    for words in (["layout=published"], ["out=x.pt"]):
        code, _, err = export(f"lora={lora}", *words, "workflow=true")
        assert code == 1
        assert "workflow=true: ComfyUI does not read" in err
    assert [path.name for path in lora.parent.iterdir()] == [lora.name]

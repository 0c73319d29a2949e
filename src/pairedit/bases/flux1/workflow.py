"""Own FLUX.1's workflow for ComfyUI: the slider as pairedit renders it, with native nodes alone.

This is ComfyUI's API form: {id: {class_type, inputs}}, where [id, n] is the n-th output of a node.
A LoRA that is off in the first steps, or not equally strong in all of them, hangs on the prompt as
a hook with keyframes. ComfyUI counts a keyframe's start on the schedule `simple`; with

    p = (step - 0.5) / steps,  three decimals

it starts exactly at that step. ModelSamplingFlux gives the sigmas of FLUX.1's own schedule.
"""

from __future__ import annotations

import math
from typing import Any

from pairedit.schedules import strength as at_step
from pairedit.settings import Size

# Files as Black Forest Labs and ComfyUI's own examples name them.
FILES = {
    "flux-dev": "flux1-dev.safetensors",
    "flux-krea": "flux1-krea-dev.safetensors",
    "flux-schnell": "flux1-schnell.safetensors",
}
ENCODERS = {"clip_name1": "t5xxl_fp16.safetensors", "clip_name2": "clip_l.safetensors"}
SHIFT = {"max_shift": 1.15, "base_shift": 0.5}
EVEN = {"max_shift": 0.0, "base_shift": 0.0}  # of schnell, whose noise falls evenly
TOKENS = 256, 4096  # of an image, at which the shifts are those two

Node = dict[str, Any]


def make_workflow(
    *,
    lora: str,
    strength: float,
    skip: int | float,
    lean: float = 0.0,
    steps: int,
    guidance_scale: float | None,
    size: Size,
    prompt: str,
    seed: int = 0,
    model: str = "flux-dev",
) -> dict[str, Node]:
    """Lay out what renders one image with a slider.

    Args:
        lora: the file's name in ComfyUI's folder of LoRAs.
        strength: of the LoRA.
        skip: first steps without it, or the noise level below which it acts.
        lean: to the early (1) or late (-1) steps, see `schedules`.
        steps: of the whole run.
        guidance_scale: None for a model that takes none.
        size: height and width of the image in px.
        prompt: what to draw.
        seed: of the noise.
        model: the base model's name; an unknown one is read from flux-dev's file.

    Returns:
        Nodes by id.
    """
    sides = {"width": size[1], "height": size[0]}
    shift = EVEN if model == "flux-schnell" else SHIFT
    first = skip if isinstance(skip, int) else _nearest(skip, steps, size, shift)
    nodes = {
        "model": _node(
            "UNETLoader", unet_name=FILES.get(model, FILES["flux-dev"]), weight_dtype="default"
        ),
        "clip": _node("DualCLIPLoader", **ENCODERS, type="flux"),
        "vae": _node("VAELoader", vae_name="ae.safetensors"),
        "shifted": _node("ModelSamplingFlux", model=["model", 0], **shift, **sides),
        "prompt": _node("CLIPTextEncode", clip=["clip", 0], text=prompt),
        "nothing": _node("CLIPTextEncode", clip=["clip", 0], text=""),
        "noise": _node("EmptySD3LatentImage", **sides, batch_size=1),
    }
    positive, base = ["prompt", 0], ["shifted", 0]
    if guidance_scale is not None:
        nodes["guided"] = _node("FluxGuidance", conditioning=positive, guidance=guidance_scale)
        positive = ["guided", 0]
    if first or lean:
        nodes |= _hooked(lora, strength, _keyframes(lean, first, steps), steps, positive)
        positive = ["hooked", 0]
    else:
        nodes["slider"] = _node(
            "LoraLoaderModelOnly", model=["model", 0], lora_name=lora, strength_model=strength
        )
        nodes["shifted"]["inputs"]["model"] = ["slider", 0]
    nodes["sampled"] = _node(
        "KSampler",
        model=base,
        positive=positive,
        negative=["nothing", 0],
        latent_image=["noise", 0],
        seed=seed,
        steps=steps,
        cfg=1.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1.0,
    )
    nodes["image"] = _node("VAEDecode", samples=["sampled", 0], vae=["vae", 0])
    nodes["saved"] = _node("SaveImage", images=["image", 0], filename_prefix="pairedit")
    return nodes


def _keyframes(lean: float, first: int, steps: int) -> list[tuple[int, float]]:
    """List the steps at which a slider's strength changes, each with its factor."""
    acting = range(first, steps if lean else first + 1)
    changes = [(step, round(at_step(lean, step, first, steps), 4)) for step in acting]
    return [(0, 0.0), *changes] if first else changes


def _hooked(
    lora: str,
    strength: float,
    keyframes: list[tuple[int, float]],
    steps: int,
    positive: list[str | int],
) -> dict[str, Node]:
    """Hang a LoRA on the prompt whose strength changes at some steps: step, factor."""
    nodes = {"slider": _node("CreateHookLoraModelOnly", lora_name=lora, strength_model=strength)}
    before: dict[str, Any] = {}
    for step, factor in keyframes:
        start = round((step - 0.5) / steps, 3) if step else 0.0
        nodes[f"from{step}"] = _node(
            "CreateHookKeyframe", strength_mult=factor, start_percent=start, **before
        )
        before = {"prev_hook_kf": [f"from{step}", 0]}
    return {
        **nodes,
        "timed": _node("SetHookKeyframes", hooks=["slider", 0], hook_kf=before["prev_hook_kf"]),
        "hooked": _node(
            "ConditioningSetProperties",
            cond_NEW=positive,
            strength=1.0,
            set_cond_area="default",
            hooks=["timed", 0],
        ),
    }


def _nearest(level: float, steps: int, size: Size, shift: dict[str, float]) -> int:
    """Return the step whose noise level is nearest to one.

    Source: ComfyUI's ModelSamplingFlux, as FluxPipeline's calculate_shift.
    """
    few, many = TOKENS
    part = (size[0] // 16 * (size[1] // 16) - few) / (many - few)
    mu = shift["base_shift"] + part * (shift["max_shift"] - shift["base_shift"])

    def sigma(step: int) -> float:
        return math.exp(mu) / (math.exp(mu) + steps / (steps - step) - 1)

    return min(range(steps), key=lambda step: abs(sigma(step) - level))


def _node(kind: str, **inputs: Any) -> Node:
    """Write one node."""
    return {"class_type": kind, "inputs": inputs}

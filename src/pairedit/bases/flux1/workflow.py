"""Own FLUX.1's workflow for ComfyUI: the slider as pairedit renders it, with native nodes alone.

This is ComfyUI's API form: {id: {class_type, inputs}}, where [id, n] is the n-th output of a node.
A LoRA that is off in the first steps hangs on the prompt as a hook with two keyframes. ComfyUI
counts a keyframe's start on the schedule `simple`; with

    p = (skip - 0.5) / steps,  three decimals

it starts exactly at that step. ModelSamplingFlux gives the sigmas of FLUX.1's own schedule.
"""

from __future__ import annotations

from typing import Any

# Files as Black Forest Labs and ComfyUI's own examples name them.
FILES = {
    "flux-dev": "flux1-dev.safetensors",
    "flux-krea": "flux1-krea-dev.safetensors",
    "flux-schnell": "flux1-schnell.safetensors",
}
SHIFT = {"max_shift": 1.15, "base_shift": 0.5}

Node = dict[str, Any]


def make_workflow(
    *,
    lora: str,
    strength: float,
    skip: int,
    steps: int,
    guidance_scale: float | None,
    resolution: int,
    prompt: str,
    seed: int = 0,
    model: str = "flux-dev",
) -> dict[str, Node]:
    """Lay out what renders one image with a slider.

    Args:
        lora: the file's name in ComfyUI's folder of LoRAs.
        strength: of the LoRA.
        skip: first steps without it.
        steps: of the whole run.
        guidance_scale: None for a model that takes none.
        resolution: px, of both sides.
        prompt: what to draw.
        seed: of the noise.
        model: the base model's name; an unknown one is read from flux-dev's file.

    Returns:
        Nodes by id.
    """
    size = {"width": resolution, "height": resolution}
    nodes = {
        "model": _node(
            "UNETLoader", unet_name=FILES.get(model, FILES["flux-dev"]), weight_dtype="default"
        ),
        "clip": _node(
            "DualCLIPLoader",
            clip_name1="t5xxl_fp16.safetensors",
            clip_name2="clip_l.safetensors",
            type="flux",
        ),
        "vae": _node("VAELoader", vae_name="ae.safetensors"),
        "shifted": _node("ModelSamplingFlux", model=["model", 0], **SHIFT, **size),
        "prompt": _node("CLIPTextEncode", clip=["clip", 0], text=prompt),
        "nothing": _node("CLIPTextEncode", clip=["clip", 0], text=""),
        "noise": _node("EmptySD3LatentImage", **size, batch_size=1),
    }
    positive, base = ["prompt", 0], ["shifted", 0]
    if guidance_scale is not None:
        nodes["guided"] = _node("FluxGuidance", conditioning=positive, guidance=guidance_scale)
        positive = ["guided", 0]
    if skip:
        nodes |= _hooked(lora, strength, skip, steps, positive)
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


def _hooked(
    lora: str, strength: float, skip: int, steps: int, positive: list[str | int]
) -> dict[str, Node]:
    """Hang a LoRA on the prompt that starts after some steps."""
    return {
        "slider": _node("CreateHookLoraModelOnly", lora_name=lora, strength_model=strength),
        "off": _node("CreateHookKeyframe", strength_mult=0.0, start_percent=0.0),
        "on": _node(
            "CreateHookKeyframe",
            strength_mult=1.0,
            start_percent=round((skip - 0.5) / steps, 3),
            prev_hook_kf=["off", 0],
        ),
        "timed": _node("SetHookKeyframes", hooks=["slider", 0], hook_kf=["on", 0]),
        "hooked": _node(
            "ConditioningSetProperties",
            cond_NEW=positive,
            strength=1.0,
            set_cond_area="default",
            hooks=["timed", 0],
        ),
    }


def _node(kind: str, **inputs: Any) -> Node:
    """Write one node."""
    return {"class_type": kind, "inputs": inputs}

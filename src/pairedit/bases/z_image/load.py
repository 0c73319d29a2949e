"""Own how a Z-Image is loaded, and kept for the next job of the process."""

from __future__ import annotations

import functools
import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import ZImagePipeline

from pairedit.bases.quiet import quiet
from pairedit.bases.z_image.zimage import PLAIN, ZImage
from pairedit.machine.hardware import AUTO, PROFILES, Hardware, choose

log = logging.getLogger(__name__)


@functools.lru_cache(maxsize=1)
def load(
    path: str,
    *,
    device: str,
    precision: str,
    max_sequence_length: int,
    hardware: Hardware = PLAIN,
    changes: tuple[tuple[str, Any], ...] = (),
) -> ZImage:
    """Load a Z-Image model, or return the one loaded last if it is the same.

    Args:
        path: a diffusers ZImagePipeline folder, or a model hub id.
        device: a torch device, such as cpu or cuda.
        precision: that the hardware's `auto` stands for, float32 or bf16. The VAE runs in float32.
        max_sequence_length: tokens of a prompt; longer ones are cut.
        hardware: how the transformer runs; see `hardware.choose`, which settles its `auto`.
        changes: fields of the hardware that the user set apart from it.

    Returns:
        The model with the transformer on the device and everything frozen.

    Raises:
        ValueError: names the path and why it cannot be loaded.
    """
    asked = dict(changes).get("precision", hardware.precision)
    plain = precision if asked == AUTO else asked
    dtype = torch.float32 if plain == "float32" else torch.bfloat16
    try:
        with quiet():
            pipeline = ZImagePipeline.from_pretrained(
                path,
                dtype={"vae": torch.float32, "default": dtype},
                # A pickle could run code.
                use_safetensors=True,
            )
    except (OSError, ValueError, json.JSONDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        if not Path(path).is_dir():
            reason = "neither in the local cache nor to be had from the model hub; " + (
                "unset HF_HUB_OFFLINE, " if os.environ.get("HF_HUB_OFFLINE") else ""
            )
            reason += "accept its licence and run `hf auth login`, or name a local folder"
        raise ValueError(f"model.path={path}: not a readable Z-Image model: {reason}") from error
    free = torch.cuda.mem_get_info()[0] / 2**30 if torch.device(device).type == "cuda" else 0.0
    parameters = sum(weight.numel() for weight in pipeline.transformer.parameters())
    chosen = choose(
        hardware,
        device=torch.device(device).type,
        free=free,
        parameters=parameters,
        precision=precision,
        changes=dict(changes),
    )
    if hardware.name == AUTO and chosen.name in PROFILES:
        log.info("hardware=%s: %.1f GiB are free on the GPU", chosen.name, free)
    if chosen.fused:
        log.info("Z-Image runs without fused operations and CUDA graphs: there are none for it yet")
        chosen = replace(chosen, fused=False, graphs=False)
    return ZImage(
        pipeline,
        device=torch.device(device),
        max_sequence_length=max_sequence_length,
        hardware=chosen,
    )

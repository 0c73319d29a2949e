"""Own how a FLUX.2 klein is loaded, and kept for the next job of the process.

Of the text encoder, layers behind the last one that is read are not loaded, nor is its head: a
quarter of it.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from pairedit.bases.flux2.flux import READ, Flux2Base
from pairedit.bases.quiet import quiet
from pairedit.machine.hardware import AUTO, ON_GPU, Hardware, choose

log = logging.getLogger(__name__)

PLAIN = Hardware()


@functools.lru_cache(maxsize=1)
def load(
    path: str,
    *,
    device: str,
    precision: str,
    max_sequence_length: int,
    hardware: Hardware = PLAIN,
    changes: tuple[tuple[str, Any], ...] = (),
) -> Flux2Base:
    """Load a FLUX.2 klein, or return the one loaded last if it is the same.

    Args:
        path: a diffusers Flux2KleinPipeline folder, or a model hub id.
        device: a torch device, such as cpu or cuda.
        precision: that the hardware's `auto` stands for, float32 or bf16. The VAE runs in float32.
        max_sequence_length: tokens of a prompt; longer ones are cut, shorter ones filled up.
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
            pipeline = Flux2KleinPipeline.from_pretrained(
                path,
                text_encoder=read_encoder(path, dtype),
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
        raise ValueError(f"model.path={path}: not a readable FLUX.2 model: {reason}") from error
    free = torch.cuda.mem_get_info()[0] / 2**30 if torch.device(device).type == "cuda" else 0.0
    parameters = sum(weight.numel() for weight in pipeline.transformer.parameters())
    chosen = choose(
        hardware,
        device=torch.device(device).type,
        free=free,
        parameters=parameters,
        precision=precision,
        changes=dict(changes),
        needs=needs(parameters),
    )
    if hardware.name == AUTO and chosen.name in ON_GPU:
        log.info("hardware=%s: %.1f GiB are free on the GPU", chosen.name, free)
    return Flux2Base(
        pipeline,
        device=torch.device(device),
        max_sequence_length=max_sequence_length,
        # There are no fused operations for this architecture yet.
        hardware=replace(chosen, fused=False, graphs=False),
    )


def read_encoder(path: str, dtype: torch.dtype) -> Qwen3Model:
    """Read the text encoder up to the last layer whose output is used."""
    config = Qwen3Config.from_pretrained(path, subfolder="text_encoder")
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[: max(READ)]
    config.num_hidden_layers = min(config.num_hidden_layers, max(READ))
    encoder = Qwen3Model.from_pretrained(
        path, subfolder="text_encoder", config=config, dtype=dtype, use_safetensors=True
    )
    # The norm stands behind all layers; what is read of the last one here comes before it.
    encoder.norm = nn.Identity()
    return encoder


def needs(parameters: int) -> Mapping[str, float]:
    """Estimate the GiB that must be free for each profile, at 512 px; nobody has measured it.

    Weights of 2 bytes, and activations of all blocks, of some, or of one.
    """
    weights = 2 * parameters / 2**30
    return {
        "80gb": 2.5 * weights + 4,
        "24gb": 1.3 * weights + 3,
        "12gb": 0.5 * weights + 4,
        "8gb": 0,
    }

"""Own how a FLUX.2 klein is loaded, and kept for the next job of the process.

Of the text encoder, layers behind the last one that is read are not loaded, nor is its head: a
quarter of it.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import Flux2KleinPipeline
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from pairedit.bases.flux2.flux import READ, Flux2Base
from pairedit.bases.loading import dtypes, needs_of, readable, settle
from pairedit.bases.plain import PLAIN
from pairedit.machine.hardware import Hardware


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
    settings = {"precision": precision, "changes": dict(changes)}
    dtype = dtypes(hardware=hardware, **settings)
    with readable(path, "FLUX.2"):
        pipeline = Flux2KleinPipeline.from_pretrained(
            path,
            text_encoder=read_encoder(path, dtype["default"]),
            dtype=dtype,
            # A pickle could run code.
            use_safetensors=True,
        )
    return Flux2Base(
        pipeline,
        device=torch.device(device),
        max_sequence_length=max_sequence_length,
        hardware=settle(
            hardware,
            pipeline.transformer,
            device=device,
            needs=needs_of(pipeline.transformer),
            fuses=False,
            **settings,
        ),
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

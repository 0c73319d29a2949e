"""Own how a FLUX.2 klein is loaded, and kept for the next job of the process.

Of the text encoder, layers behind the last one that is read are not loaded, nor is its head: a
quarter of it.
"""

from __future__ import annotations

import torch
from diffusers import Flux2KleinPipeline
from torch import nn
from transformers import Qwen3Config, Qwen3Model

from pairedit.bases.flux2.flux import READ, Flux2Base
from pairedit.bases.loading import loader, needs_of


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


load = loader(
    Flux2KleinPipeline,
    Flux2Base,
    family="FLUX.2",
    needs=needs_of,
    fuses=True,
    parts=lambda path, dtype: {"text_encoder": read_encoder(path, dtype)},
)

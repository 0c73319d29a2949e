"""Own how a FLUX.1 is loaded, and kept for the next job of the process."""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import FluxPipeline

from pairedit.bases.flux1.flux import PLAIN, Flux
from pairedit.bases.loading import dtypes, readable, settle
from pairedit.machine.hardware import Hardware

# GiB that must be free at 512 px; the last profile is taken where nothing fits.
NEEDS = {"80gb": 32.0, "24gb": 21.5, "12gb": 10.5, "8gb": 0.0}


@functools.lru_cache(maxsize=1)
def load(
    path: str,
    *,
    device: str,
    precision: str,
    max_sequence_length: int,
    hardware: Hardware = PLAIN,
    changes: tuple[tuple[str, Any], ...] = (),
) -> Flux:
    """Load a FLUX model, or return the one loaded last if it is the same.

    Args:
        path: a diffusers FluxPipeline folder, or a model hub id.
        device: a torch device, such as cpu or cuda.
        precision: that the hardware's `auto` stands for, float32 or bf16. The VAE runs in float32.
        max_sequence_length: T5 tokens of a prompt; longer ones are cut.
        hardware: how the transformer runs; see `hardware.choose`, which settles its `auto`.
        changes: fields of the hardware that the user set apart from it.

    Returns:
        The model with the transformer on the device and everything frozen.

    Raises:
        ValueError: names the path and why it cannot be loaded.
    """
    settings = {"precision": precision, "changes": dict(changes)}
    with readable(path, "FLUX"):
        pipeline = FluxPipeline.from_pretrained(
            path,
            dtype=dtypes(hardware=hardware, **settings),
            # A pickle could run code.
            use_safetensors=True,
        )
    return Flux(
        pipeline,
        device=torch.device(device),
        max_sequence_length=max_sequence_length,
        hardware=settle(hardware, pipeline.transformer, device=device, needs=NEEDS, **settings),
    )

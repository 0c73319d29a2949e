"""Own how a Z-Image is loaded, and kept for the next job of the process."""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers import ZImagePipeline

from pairedit.bases.loading import dtypes, needs_of, readable, settle
from pairedit.bases.plain import PLAIN
from pairedit.bases.z_image.zimage import ZImageBase
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
) -> ZImageBase:
    """Load a Z-Image, or return the one loaded last if it is the same.

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
    settings = {"precision": precision, "changes": dict(changes)}
    with readable(path, "Z-Image"):
        pipeline = ZImagePipeline.from_pretrained(
            path,
            dtype=dtypes(hardware=hardware, **settings),
            # A pickle could run code.
            use_safetensors=True,
        )
    return ZImageBase(
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

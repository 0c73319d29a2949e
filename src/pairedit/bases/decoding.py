"""Own how a VAE decodes: a few images at once, one by one where memory does not suffice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DECODED = 2**20  # px that a VAE decodes at once on a GPU: each image takes gigabytes


def at_once(pixels: int) -> int:
    """Return how many images of so many px are decoded together."""
    return max(1, DECODED // pixels)


def decode_parts(vae: nn.Module, raw: Tensor, count: int) -> Tensor:
    """Decode what the VAE takes, `count` images at once, to float32 [B, 3, H, W]."""

    def images(count: int) -> Tensor:
        # Where weights lie channels last, so do the images on the way.
        parts = [vae.decode(part, return_dict=False)[0] for part in raw.split(count)]
        return torch.cat(parts).contiguous()

    try:
        return images(count).float()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return images(1).float()

"""Own how FLUX.1's latents become tokens, each with its position, and latents again.

Shape letters: B rows, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

import torch
from torch import Tensor

PATCH = 2  # latent pixels a side of one token


def pack(latents: Tensor) -> Tensor:
    """Turn [B, C, h, w] into tokens of 2 x 2 latent pixels, [B, h / 2 * w / 2, 4 C]."""
    rows, channels, h, w = latents.shape
    patches = latents.reshape(rows, channels, h // PATCH, PATCH, w // PATCH, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor, h: int, w: int) -> Tensor:
    """Turn tokens [B, h / 2 * w / 2, 4 C] back into [B, C, h, w]."""
    rows = len(tokens)
    patches = tokens.reshape(rows, h // PATCH, w // PATCH, -1, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(rows, -1, h, w)


def image_ids(h: int, w: int) -> Tensor:
    """Return the position (0, row, column) of every token, float32 [h / 2 * w / 2, 3]."""
    y, x = torch.meshgrid(torch.arange(h // PATCH), torch.arange(w // PATCH), indexing="ij")
    return torch.stack([torch.zeros_like(y), y, x], dim=-1).reshape(-1, 3).float()

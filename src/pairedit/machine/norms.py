"""Own group norms of images with what stands around them, in few walks through memory.

torch sums a group norm on as many of a GPU's cores as there are groups, and walks once more for
silu and for the bias of each convolution. Without gradient; a GPU's kernels want channels last.
Shape letters: B rows, C channels, H and W height and width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairedit.machine.devices import runs_triton


def norm_silu(norm: nn.GroupNorm, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return silu(norm(x + bias)) of [B, C, H, W]; bias [C] is that of the layer before."""
    if _last(x) and runs_triton(x.device):
        from pairedit.machine.norm_kernels import norm_silu as kernel

        return kernel(x, bias, (norm.num_groups, norm.weight, norm.bias, norm.eps))
    x = x if bias is None else x + bias[:, None, None]
    return F.silu(F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps))


def add_biased(x: Tensor, other: Tensor, bias: Tensor) -> Tensor:
    """Return x + other + bias [C], of [B, C, H, W]; x may be written over."""
    if _last(x) and _last(other) and runs_triton(x.device):
        from pairedit.machine.norm_kernels import add_biased as kernel

        return kernel(x, other, bias)
    return other + (x + bias[:, None, None])


def _last(x: Tensor) -> bool:
    """Say whether channels lie side by side."""
    return x.is_contiguous(memory_format=torch.channels_last)

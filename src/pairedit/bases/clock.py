"""Own the clock of diffusers' transformers, which runs from 0 to 1000 while sigma runs to 1."""

from __future__ import annotations

import torch
from torch import Tensor

from pairedit.machine.devices import bring

T_MAX = 1000


def clock_of(sigmas: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Turn noise levels into the clock and back, rounded as diffusers rounds them."""
    return bring(sigmas * T_MAX, device).to(dtype) / T_MAX

"""Own GPU kernels in Triton, which only a GPU's build of torch brings: imported there alone."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pairedit.quantised import F8, F8_MAX, SMALLEST

WARPS = 8


def round_gelu(beside: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Round [beside, gelu(hidden)] to fp8; see `feedforward.round_gelu`."""
    rows, features = beside.shape
    rounded = hidden.new_empty((rows, features + hidden.shape[1]), dtype=F8)
    scales = hidden.new_empty((rows, 1), dtype=torch.float32)
    _round_gelu[(rows,)](
        beside,
        hidden,
        rounded,
        scales,
        FEATURES=features,
        HIDDEN=hidden.shape[1],
        FEATURES_BLOCK=triton.next_power_of_2(features) if features else 0,
        HIDDEN_BLOCK=triton.next_power_of_2(hidden.shape[1]),
        SMALLEST=SMALLEST,
        LARGEST=F8_MAX,
        num_warps=WARPS,
    )
    return rounded, scales


@triton.jit
def _round_gelu(
    beside,
    hidden,
    rounded,
    scales,
    FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
    FEATURES_BLOCK: tl.constexpr,
    HIDDEN_BLOCK: tl.constexpr,
    SMALLEST: tl.constexpr,
    LARGEST: tl.constexpr,
):
    """Round one row, which stays in registers between its maximum and its rounding."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, HIDDEN_BLOCK)
    x = tl.load(hidden + row * HIDDEN + columns, mask=columns < HIDDEN, other=0.0).to(tl.float32)
    # The tanh form of gelu, written with the sigmoid.
    x = x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    largest = tl.max(tl.abs(x), axis=0)
    if FEATURES_BLOCK > 0:
        places = tl.arange(0, FEATURES_BLOCK)
        side = tl.load(beside + row * FEATURES + places, mask=places < FEATURES, other=0.0)
        side = side.to(tl.float32)
        largest = tl.maximum(largest, tl.max(tl.abs(side), axis=0))
    scale = tl.maximum(largest, SMALLEST) / LARGEST
    tl.store(scales + row, scale)
    start = rounded + row * (FEATURES + HIDDEN)
    if FEATURES_BLOCK > 0:
        side = (side / scale).to(rounded.dtype.element_ty)
        tl.store(start + places, side, mask=places < FEATURES)
    x = tl.minimum(tl.maximum(x / scale, -LARGEST), LARGEST)
    tl.store(start + FEATURES + columns, x.to(rounded.dtype.element_ty), mask=columns < HIDDEN)

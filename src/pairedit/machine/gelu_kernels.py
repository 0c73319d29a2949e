"""Own gelu within roundings to fp8, in Triton: imported only where `devices.runs_triton`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pairedit.machine.quantised import F8, F8_MAX, SMALLEST

WARPS = 8


def round_gelu(beside: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Round [beside, gelu(hidden)] to fp8; see `mlps.round_gelu`."""
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
    # A NaN stays one: whoever looks at the image must see it.
    if FEATURES_BLOCK > 0:
        side = tl.clamp(side / scale, -LARGEST, LARGEST, propagate_nan=tl.PropagateNan.ALL)
        tl.store(start + places, side.to(rounded.dtype.element_ty), mask=places < FEATURES)
    x = tl.clamp(x / scale, -LARGEST, LARGEST, propagate_nan=tl.PropagateNan.ALL)
    tl.store(start + FEATURES + columns, x.to(rounded.dtype.element_ty), mask=columns < HIDDEN)


def round_gelu_back(back: Tensor, hidden: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Round the gradient of what gelu was given to fp8; see `mlps.round_gelu_back`."""
    rows, features = hidden.shape
    rounded = torch.empty_like(hidden, dtype=F8)
    scales = hidden.new_empty((rows, 1), dtype=torch.float32)
    _round_gelu_back[(rows,)](
        back,
        hidden,
        times,
        rounded,
        scales,
        BESIDE=back.shape[1] - features,
        HIDDEN=features,
        HIDDEN_BLOCK=triton.next_power_of_2(features),
        SMALLEST=SMALLEST,
        LARGEST=F8_MAX,
        num_warps=2 * WARPS,
    )
    return rounded, scales


@triton.jit
def _round_gelu_back(
    back,
    hidden,
    times,
    rounded,
    scales,
    BESIDE: tl.constexpr,
    HIDDEN: tl.constexpr,
    HIDDEN_BLOCK: tl.constexpr,
    SMALLEST: tl.constexpr,
    LARGEST: tl.constexpr,
):
    """Round one row, which stays in registers between its maximum and its rounding."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, HIDDEN_BLOCK)
    known = columns < HIDDEN
    x = tl.load(hidden + row * HIDDEN + columns, mask=known, other=0.0).to(tl.float32)
    g = tl.load(back + row * (BESIDE + HIDDEN) + BESIDE + columns, mask=known, other=0.0)
    # With u the sigmoid's argument, gelu(x) = x sigmoid(u(x)).
    part = tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    slope = 1.5957691216057308 * (1 + 3 * 0.044715 * x * x)
    g = g.to(tl.float32) * part * (1 + x * (1 - part) * slope)
    g = g * tl.load(times + columns, mask=known, other=0.0)
    scale = tl.maximum(tl.max(tl.abs(g), axis=0), SMALLEST) / LARGEST
    tl.store(scales + row, scale)
    g = tl.clamp(g / scale, -LARGEST, LARGEST, propagate_nan=tl.PropagateNan.ALL)
    tl.store(rounded + row * HIDDEN + columns, g.to(rounded.dtype.element_ty), mask=known)

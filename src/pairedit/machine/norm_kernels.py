"""Own group norms of images in Triton: imported only where `devices.runs_triton`.

Images lie channels last: [B, P, C], P pixels, C channels. How many there are is no part of what is
compiled, so one compilation of each kernel serves all layers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 128  # of one program
PIXELS = 32  # that it holds at once
SPLITS = 64  # programs that share the sums of one image's channels
WARPS = 8


def norm_silu(x: Tensor, bias: Tensor | None, norm: tuple[int, Tensor, Tensor, float]) -> Tensor:
    """Return silu(norm(x + bias)); see `norms.norm_silu`.

    Args:
        x: [B, C, H, W], channels last.
        bias: [C].
        norm: groups, weight [C], bias [C] and eps.
    """
    groups, weight, shift, eps = norm
    rows, channels = x.shape[:2]
    pixels = x.numel() // (rows * channels)
    splits = min(SPLITS, triton.cdiv(pixels, PIXELS))
    share = triton.cdiv(triton.cdiv(pixels, splits), PIXELS) * PIXELS
    sums = x.new_empty((rows, splits, 2, channels), dtype=torch.float32)
    affine = x.new_empty((rows, 2, channels), dtype=torch.float32)
    bias = torch.zeros_like(weight) if bias is None else bias
    blocks = triton.cdiv(channels, CHANNELS)
    held = {"PIXELS": PIXELS, "CHANNELS": CHANNELS, "num_warps": WARPS}
    _sum[(splits, blocks, rows)](x, bias, sums, pixels, channels, share, **held)
    width = channels // groups
    _settle[(groups, rows)](
        sums,
        bias,
        weight,
        shift,
        affine,
        splits,
        pixels,
        channels,
        width,
        eps,
        SPLITS=SPLITS,
        WIDTH=max(16, triton.next_power_of_2(width)),
        num_warps=1,
    )
    found = torch.empty_like(x)
    grid = (triton.cdiv(pixels, PIXELS), blocks, rows)
    _apply[grid](x, affine, found, pixels, channels, **held)
    return found


@triton.jit
def _sum(x, bias, sums, pixels, channels, share, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sum a share of one image's pixels, and their squares, for some channels."""
    split, row = tl.program_id(0), tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    known = channel < channels
    add = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    first = tl.zeros((PIXELS, CHANNELS), tl.float32)
    second = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for start in range(0, share, PIXELS):
        pixel = split * share + start + tl.arange(0, PIXELS)
        there = (pixel < pixels)[:, None] & known[None, :]
        place = (row * pixels + pixel)[:, None] * channels + channel[None, :]
        value = tl.load(x + place, mask=there, other=0.0).to(tl.float32)
        value = tl.where(there, value + add, 0.0)
        first += value
        second += value * value
    into = sums + (row * tl.num_programs(0) + split) * 2 * channels + channel
    tl.store(into, tl.sum(first, axis=0), mask=known)
    tl.store(into + channels, tl.sum(second, axis=0), mask=known)


@triton.jit
def _settle(
    sums,
    bias,
    weight,
    shift,
    affine,
    splits,
    pixels,
    channels,
    width,
    eps,
    SPLITS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Turn the sums of a group's channels into what each is multiplied by and then added."""
    row = tl.program_id(1).to(tl.int64)
    split, number = tl.arange(0, SPLITS), tl.arange(0, WIDTH)
    known = number < width
    channel = tl.program_id(0) * width + number
    place = sums + (row * splits + split)[:, None] * 2 * channels + channel[None, :]
    there = (split < splits)[:, None] & known[None, :]
    count = (pixels * width).to(tl.float32)
    mean = tl.sum(tl.sum(tl.load(place, mask=there, other=0.0), axis=0), axis=0) / count
    square = tl.load(place + channels, mask=there, other=0.0)
    square = tl.sum(tl.sum(square, axis=0), axis=0) / count
    scale = tl.rsqrt(tl.maximum(square - mean * mean, 0.0) + eps)
    times = scale * tl.load(weight + channel, mask=known, other=0.0).to(tl.float32)
    before = tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)
    plus = tl.load(shift + channel, mask=known, other=0.0).to(tl.float32)
    into = affine + row * 2 * channels + channel
    tl.store(into, times, mask=known)
    tl.store(into + channels, plus + (before - mean) * times, mask=known)


@triton.jit
def _apply(x, affine, found, pixels, channels, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Norm some channels of some pixels of one image, and apply silu."""
    row = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    known = channel < channels
    there = (pixel < pixels)[:, None] & known[None, :]
    place = (row * pixels + pixel)[:, None] * channels + channel[None, :]
    into = affine + row * 2 * channels + channel
    times = tl.load(into, mask=known, other=0.0)[None, :]
    plus = tl.load(into + channels, mask=known, other=0.0)[None, :]
    value = tl.load(x + place, mask=there, other=0.0).to(tl.float32) * times + plus
    value = value * tl.sigmoid(value)
    tl.store(found + place, value.to(found.dtype.element_ty), mask=there)


def add_biased(x: Tensor, other: Tensor, bias: Tensor) -> Tensor:
    """Return x + other + bias, written over x; see `norms.add_biased`."""
    channels = x.shape[1]
    grid = (triton.cdiv(x.numel() // channels, PIXELS), triton.cdiv(channels, CHANNELS))
    _add[grid](
        x,
        other,
        bias,
        x.numel() // channels,
        channels,
        PIXELS=PIXELS,
        CHANNELS=CHANNELS,
        num_warps=WARPS,
    )
    return x


@triton.jit
def _add(x, other, bias, pixels, channels, PIXELS: tl.constexpr, CHANNELS: tl.constexpr):
    """Add to some channels of some pixels, of all images together."""
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    known = channel < channels
    there = (pixel < pixels)[:, None] & known[None, :]
    place = pixel[:, None] * channels + channel[None, :]
    value = tl.load(x + place, mask=there, other=0.0).to(tl.float32)
    value += tl.load(other + place, mask=there, other=0.0).to(tl.float32)
    value += tl.load(bias + channel, mask=known, other=0.0).to(tl.float32)[None, :]
    tl.store(x + place, value.to(x.dtype.element_ty), mask=there)

"""Own group norms of images in Triton: imported only where `devices.runs_triton`.

Images lie channels last, so a program reads whole pixels: [B, P, C], P pixels, C channels.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096  # numbers that a program holds at once
SPLITS = 128  # programs that share the sums of one image
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
    held = TILE // channels  # pixels
    splits = min(SPLITS, triton.cdiv(pixels, held))
    share = triton.cdiv(triton.cdiv(pixels, splits), held) * held
    sums = x.new_empty((rows, splits, 2, groups), dtype=torch.float32)
    affine = x.new_empty((rows, 2, channels), dtype=torch.float32)
    more = {"CHANNELS": channels, "GROUPS": groups, "num_warps": WARPS}
    bias_or_any = weight if bias is None else bias
    given = {"BIASED": bias is not None, **more}
    _sum[(splits, rows)](x, bias_or_any, sums, pixels, share, HELD=held, **given)
    block = triton.next_power_of_2(splits)
    _settle[(rows,)](
        sums, bias_or_any, weight, shift, affine, splits, pixels, eps, SPLITS_BLOCK=block, **given
    )
    found = torch.empty_like(x)
    grid = (triton.cdiv(pixels, held), rows)
    _apply[grid](x, affine, found, pixels, HELD=held, CHANNELS=channels, num_warps=WARPS)
    return found


@triton.jit
def _sum(
    x,
    bias,
    sums,
    pixels,
    share,
    BIASED: tl.constexpr,
    CHANNELS: tl.constexpr,
    GROUPS: tl.constexpr,
    HELD: tl.constexpr,
):
    """Sum a share of one image's pixels, and their squares, by group."""
    part, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, CHANNELS)
    add = tl.load(bias + channel).to(tl.float32)[None, :] if BIASED else 0.0
    first = tl.zeros((HELD, CHANNELS), tl.float32)
    second = tl.zeros((HELD, CHANNELS), tl.float32)
    for start in range(0, share, HELD):
        pixel = part * share + start + tl.arange(0, HELD)
        there = (pixel < pixels)[:, None]
        place = (row * pixels + pixel)[:, None] * CHANNELS + channel[None, :]
        value = tl.load(x + place, mask=there, other=0.0).to(tl.float32)
        if BIASED:
            value = tl.where(there, value + add, 0.0)
        first += value
        second += value * value
    group = tl.arange(0, GROUPS)
    into = sums + (row * tl.num_programs(0) + part) * 2 * GROUPS + group
    tl.store(into, _by_group(first, CHANNELS, GROUPS))
    tl.store(into + GROUPS, _by_group(second, CHANNELS, GROUPS))


@triton.jit
def _by_group(values, CHANNELS: tl.constexpr, GROUPS: tl.constexpr):
    """Sum [HELD, CHANNELS] over pixels and the channels of a group."""
    return tl.sum(tl.reshape(tl.sum(values, axis=0), (GROUPS, CHANNELS // GROUPS)), axis=1)


@triton.jit
def _settle(
    sums,
    bias,
    weight,
    shift,
    affine,
    splits,
    pixels,
    eps,
    SPLITS_BLOCK: tl.constexpr,
    BIASED: tl.constexpr,
    CHANNELS: tl.constexpr,
    GROUPS: tl.constexpr,
):
    """Turn the sums of one image into what each of its channels is multiplied by and added."""
    row = tl.program_id(0).to(tl.int64)
    split, group = tl.arange(0, SPLITS_BLOCK), tl.arange(0, GROUPS)
    place = sums + (row * splits + split)[:, None] * 2 * GROUPS + group[None, :]
    there = (split < splits)[:, None]
    count = pixels * (CHANNELS // GROUPS)
    mean = tl.sum(tl.load(place, mask=there, other=0.0), axis=0) / count
    square = tl.sum(tl.load(place + GROUPS, mask=there, other=0.0), axis=0) / count
    scale = tl.rsqrt(tl.maximum(square - mean * mean, 0.0) + eps)
    channel = (GROUPS, CHANNELS // GROUPS)
    number = group[:, None] * (CHANNELS // GROUPS) + tl.arange(0, CHANNELS // GROUPS)[None, :]
    times = tl.broadcast_to(scale[:, None], channel) * tl.load(weight + number).to(tl.float32)
    plus = tl.load(shift + number).to(tl.float32) - mean[:, None] * times
    if BIASED:
        plus += tl.load(bias + number).to(tl.float32) * times
    tl.store(affine + row * 2 * CHANNELS + number, times)
    tl.store(affine + row * 2 * CHANNELS + CHANNELS + number, plus)


@triton.jit
def _apply(x, affine, found, pixels, HELD: tl.constexpr, CHANNELS: tl.constexpr):
    """Norm some pixels of one image, and apply silu."""
    row = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) * HELD + tl.arange(0, HELD)
    there = (pixel < pixels)[:, None]
    place = (row * pixels + pixel)[:, None] * CHANNELS + channel[None, :]
    times = tl.load(affine + row * 2 * CHANNELS + channel)[None, :]
    plus = tl.load(affine + row * 2 * CHANNELS + CHANNELS + channel)[None, :]
    value = tl.load(x + place, mask=there, other=0.0).to(tl.float32) * times + plus
    value = value * tl.sigmoid(value)
    tl.store(found + place, value.to(found.dtype.element_ty), mask=there)


def add_biased(x: Tensor, other: Tensor, bias: Tensor) -> Tensor:
    """Return x + other + bias, written over x; see `norms.add_biased`."""
    count = x.numel()
    _add[(triton.cdiv(count, TILE),)](
        x, other, bias, count, CHANNELS=x.shape[1], BLOCK=TILE, num_warps=WARPS
    )
    return x


@triton.jit
def _add(x, other, bias, count, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Add to some numbers, whose channels lie side by side."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = place < count
    value = tl.load(x + place, mask=there, other=0.0).to(tl.float32)
    value += tl.load(other + place, mask=there, other=0.0).to(tl.float32)
    value += tl.load(bias + place % CHANNELS, mask=there, other=0.0).to(tl.float32)
    tl.store(x + place, value.to(x.dtype.element_ty), mask=there)

"""Own heads and their gradients in Triton: imported only where `devices.runs_triton`."""

from __future__ import annotations

import math

import triton
import triton.language as tl
from torch import Tensor

TOKENS = 16  # of one program
HEADS = 12  # of one program, which reads the angles of its tokens once
# Heads whose code is written out, one after the other. Twelve take five times as long to compile.
UNROLLED = 1
STAGES = 3  # heads that are read ahead, and the one at work
WARPS = 4


def to_heads(
    projected: Tensor,
    loras: tuple[Tensor, Tensor, list[int]],
    norms: list[Tensor],
    rotation: tuple[Tensor, Tensor],
    eps: float,
    start: int,
    heads: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Write one stream's query, key and value, and the sizes of query and key.

    Args:
        projected: see `heads.to_heads`, contiguous.
        loras: inner, contiguous, up, and the ranks of query, key and value; see there.
        norms: weights of query and key.
        rotation: cosine and sine of all tokens.
        eps: of the norms.
        start: the stream's first token among all.
        heads: query, key and value of all tokens, [B, N, H, D], and sizes, [2, B, N, H]; written
            to.
    """
    rows, tokens, _ = projected.shape
    _, total, count, features = heads[0].shape
    group = math.gcd(count, HEADS)
    inner, up, ranks = loras
    _to_heads[(triton.cdiv(tokens, TOKENS), 3 * count // group, rows)](
        projected,
        inner,
        up,
        *norms,
        *rotation,
        *heads,
        tokens,
        total,
        start,
        up.stride(0),
        up.stride(1),
        eps,
        COUNT=count,
        GROUP=group,
        FEATURES=features,
        RANKS=inner.shape[-1],
        QUERY_RANK=ranks[0],
        KEY_RANK=ranks[1],
        VALUE_RANK=ranks[2],
        RANK_BLOCK=max(16, triton.next_power_of_2(max(ranks))) if max(ranks) else 0,
        TOKENS=TOKENS,
        UNROLLED=min(UNROLLED, group),
        STAGES=STAGES,
        num_warps=WARPS,
    )


@triton.jit
def _to_heads(
    projected,
    inner,
    up,
    norm_query,
    norm_key,
    cosine,
    sine,
    query,
    key,
    value,
    sizes,
    tokens,
    total,
    start,
    up_rows,
    up_columns,
    eps,
    COUNT: tl.constexpr,
    GROUP: tl.constexpr,
    FEATURES: tl.constexpr,
    RANKS: tl.constexpr,
    QUERY_RANK: tl.constexpr,
    KEY_RANK: tl.constexpr,
    VALUE_RANK: tl.constexpr,
    RANK_BLOCK: tl.constexpr,
    TOKENS: tl.constexpr,
    UNROLLED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Make some heads of query, key or value, for some tokens of one row."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    first = tl.program_id(1) * GROUP  # among the heads of query, key and value
    part = first // COUNT
    row = tl.program_id(2).to(tl.int64)
    there = (token < tokens)[:, None]
    feature = tl.arange(0, FEATURES)
    pair = tl.arange(0, FEATURES // 2)
    source = (row * tokens + token)[:, None]
    target = (row * total + start + token)[:, None] * (COUNT * FEATURES)
    angle = (start + token)[:, None] * FEATURES + 2 * pair[None, :]
    c = tl.load(cosine + angle, mask=there, other=0.0)
    s = tl.load(sine + angle, mask=there, other=0.0)
    if RANK_BLOCK > 0:
        if part == 0:
            before, count = 0, QUERY_RANK
        elif part == 1:
            before, count = QUERY_RANK, KEY_RANK
        else:
            before, count = QUERY_RANK + KEY_RANK, VALUE_RANK
        rank = before + tl.arange(0, RANK_BLOCK)
        known = rank < before + count
        beside = source * RANKS + rank[None, :]
        low = tl.load(inner + beside, mask=there & known[None, :], other=0.0)
    if part == 0:
        weight = tl.load(norm_query + feature).to(tl.float32)
    else:
        weight = tl.load(norm_key + feature).to(tl.float32)
    for number in tl.range(0, GROUP, num_stages=STAGES, loop_unroll_factor=UNROLLED):
        column = (first + number) * FEATURES + feature
        base = tl.load(projected + source * (3 * COUNT * FEATURES) + column[None, :], mask=there)
        x = base.to(tl.float32)
        if RANK_BLOCK > 0:
            b = tl.load(
                up + column[None, :] * up_rows + rank[:, None] * up_columns,
                mask=known[:, None],
                other=0.0,
            )
            x += tl.dot(low, b, input_precision="ieee")
        place = target + (first + number - part * COUNT) * FEATURES + feature[None, :]
        if part == 2:
            tl.store(value + place, x.to(value.dtype.element_ty), mask=there)
        else:
            scale = tl.rsqrt(tl.sum(x * x, axis=1) / FEATURES + eps)
            place_size = sizes + ((part * tl.num_programs(2) + row) * total + start + token) * COUNT
            tl.store(place_size + first + number - part * COUNT, scale, mask=token < tokens)
            # Rounded where a sequence of operations would be.
            normed = (x * scale[:, None] * weight[None, :]).to(query.dtype.element_ty)
            even, odd = tl.split(tl.reshape(normed.to(tl.float32), (TOKENS, FEATURES // 2, 2)))
            turned = tl.join(even * c - odd * s, odd * c + even * s)
            turned = tl.reshape(turned, (TOKENS, FEATURES)).to(query.dtype.element_ty)
            if part == 0:
                tl.store(query + place, turned, mask=there)
            else:
                tl.store(key + place, turned, mask=there)


def from_heads(
    gradients: list[Tensor],
    heads: tuple[Tensor, Tensor],
    sizes: Tensor,
    norms: list[Tensor],
    rotation: tuple[Tensor, Tensor],
    start: int,
    tokens: int,
) -> Tensor:
    """Return the gradient of one stream's projections, [B, n, 3 H D]; see `heads.from_heads`.

    Args:
        gradients: of query, key and value, contiguous, [B, N, H, D].
        heads: query and key, contiguous.
        sizes: of both.
        norms: weights of query and key.
        rotation: cosine and sine of all tokens.
        start: the stream's first token among all.
        tokens: n.
    """
    rows, total, count, features = heads[0].shape
    group = math.gcd(count, HEADS)
    found = heads[0].new_empty(rows, tokens, 3 * count * features)
    _from_heads[(triton.cdiv(tokens, TOKENS), 3 * count // group, rows)](
        *gradients,
        *heads,
        sizes,
        *norms,
        *rotation,
        found,
        tokens,
        total,
        start,
        COUNT=count,
        GROUP=group,
        FEATURES=features,
        TOKENS=TOKENS,
        UNROLLED=min(UNROLLED, group),
        STAGES=STAGES,
        num_warps=WARPS,
    )
    return found


@triton.jit
def _from_heads(
    to_query,
    to_key,
    to_value,
    query,
    key,
    sizes,
    norm_query,
    norm_key,
    cosine,
    sine,
    found,
    tokens,
    total,
    start,
    COUNT: tl.constexpr,
    GROUP: tl.constexpr,
    FEATURES: tl.constexpr,
    TOKENS: tl.constexpr,
    UNROLLED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Make the gradient of some heads' projections, for some tokens of one row."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    first = tl.program_id(1) * GROUP
    part = first // COUNT
    row = tl.program_id(2).to(tl.int64)
    there = (token < tokens)[:, None]
    feature = tl.arange(0, FEATURES)
    pair = tl.arange(0, FEATURES // 2)
    target = (row * tokens + token)[:, None] * (3 * COUNT * FEATURES)
    source = (row * total + start + token)[:, None] * (COUNT * FEATURES)
    angle = (start + token)[:, None] * FEATURES + 2 * pair[None, :]
    c = tl.load(cosine + angle, mask=there, other=0.0)
    s = tl.load(sine + angle, mask=there, other=0.0)
    into = found + target + first * FEATURES + feature[None, :]
    if part == 2:
        place = source + (first - 2 * COUNT) * FEATURES + feature[None, :]
        for number in tl.range(0, GROUP, num_stages=STAGES, loop_unroll_factor=UNROLLED):
            value = tl.load(to_value + place + number * FEATURES, mask=there)
            tl.store(into + number * FEATURES, value, mask=there)
    else:
        if part == 0:
            gradients, heads, norm = to_query, query, norm_query
        else:
            gradients, heads, norm = to_key, key, norm_key
        weight = tl.load(norm + feature).to(tl.float32)[None, :]
        place = source + (first - part * COUNT) * FEATURES + feature[None, :]
        size = sizes + ((part * tl.num_programs(2) + row) * total + start + token) * COUNT
        size += first - part * COUNT
        for number in tl.range(0, GROUP, num_stages=STAGES, loop_unroll_factor=UNROLLED):
            grad = tl.load(gradients + place + number * FEATURES, mask=there, other=0.0)
            turned = tl.load(heads + place + number * FEATURES, mask=there, other=0.0)
            g = _turn_back(grad.to(tl.float32), c, s, TOKENS, FEATURES)
            y = _turn_back(turned.to(tl.float32), c, s, TOKENS, FEATURES)
            r = tl.load(size + number, mask=token < tokens, other=0.0)[:, None]
            mean = (tl.sum(g * y, axis=1) / FEATURES)[:, None]
            x = r * (weight * g - y / weight * mean)
            tl.store(into + number * FEATURES, x.to(found.dtype.element_ty), mask=there)


@triton.jit
def _turn_back(x, c, s, TOKENS: tl.constexpr, FEATURES: tl.constexpr):
    """Rotate each pair of [TOKENS, FEATURES] by the angle's opposite."""
    even, odd = tl.split(tl.reshape(x, (TOKENS, FEATURES // 2, 2)))
    return tl.reshape(tl.join(even * c + odd * s, odd * c - even * s), (TOKENS, FEATURES))

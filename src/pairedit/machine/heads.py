"""Own heads: from joint projections to query, key and value, and back to their gradients.

    query = rotated(x r w),  r = 1 / sqrt(mean(x^2) + eps),  x the projection with its LoRAs
    key   = the same,        value = x

One walk through memory for each stream, there and back. The way back starts from rotated query and
key, which attention keeps anyway, and r: so it needs weights w that are not 0.
Shape letters: B rows, n tokens of one stream, N of all, H heads, D features of a head, R the ranks
of all LoRAs together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pairedit.machine.devices import runs_triton
from pairedit.machine.rotation import rotate

RANK_LIMIT = 128  # of one projection: fit where the kernel makes the heads


# Said, since torch 2.6 does not read it off `list[Tensor]`.
@torch.library.custom_op(
    "pairedit::to_heads",
    mutates_args=(),
    schema="(Tensor[] projected, Tensor[] inner, Tensor[] up, int[] ranks, Tensor[] norms, "
    "Tensor cosine, Tensor sine, float eps) -> (Tensor, Tensor, Tensor, Tensor)",
)
def to_heads(
    projected: list[Tensor],
    inner: list[Tensor],
    up: list[Tensor],
    ranks: list[int],
    norms: list[Tensor],
    cosine: Tensor,
    sine: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make the heads of all streams; only `projected` gets a gradient, see `multiply_apart`.

    Args:
        projected: of each stream in their order, query, key and value side by side, [B, n, 3 H D].
        inner: what A makes of the stream's input, scaled, [B, n, R]; R may be 0.
        up: B of each stream, [3 H D, R], block diagonal.
        ranks: columns of B that belong to each stream's query, key and value.
        norms: weights [D] of each stream's query, then of its key.
        cosine: float32 [N, D].
        sine: the same.
        eps: of the norms.

    Returns:
        Query, key and value, [B, N, H, D], and what queries and keys were multiplied by to be
        normed, float32 [2, B, N, H].
    """
    if runs_triton(projected[0].device):
        from pairedit.machine.head_kernels import to_heads as kernel

        heads = _empty_heads(projected[0], cosine)
        start = 0
        for number, (x, low, b) in enumerate(zip(projected, inner, up, strict=True)):
            columns = ranks[3 * number : 3 * number + 3]
            if max(columns) > RANK_LIMIT:
                x, columns = x + F.linear(low, b), [0, 0, 0]
            weights = norms[2 * number : 2 * number + 2]
            factors = (low.contiguous(), b, columns)
            kernel(x.contiguous(), factors, weights, (cosine, sine), eps, start, heads)
            start += x.shape[1]
        return heads
    streams = []
    for number, (x, low, b) in enumerate(zip(projected, inner, up, strict=True)):
        parts = (x + F.linear(low, b)).unflatten(-1, (3, -1, cosine.shape[1])).unbind(2)
        pairs = zip(parts[:2], norms[2 * number : 2 * number + 2], strict=True)
        normed = [F.rms_norm(part, part.shape[-1:], weight, eps) for part, weight in pairs]
        sizes = [(part.float().square().mean(-1) + eps).rsqrt() for part in parts[:2]]
        streams.append([*normed, parts[2], *sizes])
    query, key, value, *sizes = (torch.cat(parts, dim=1) for parts in zip(*streams, strict=True))
    query, key = rotate(query, (cosine, sine)), rotate(key, (cosine, sine))
    return query, key, value, torch.stack(sizes)


@to_heads.register_fake
def _(
    projected: list[Tensor],
    inner: list[Tensor],
    up: list[Tensor],
    ranks: list[int],
    norms: list[Tensor],
    cosine: Tensor,
    sine: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty_heads(projected[0], cosine)


def _empty_heads(projected: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make room for what `to_heads` returns."""
    tokens, features = cosine.shape
    shape = (len(projected), tokens, projected.shape[-1] // (3 * features), features)
    sizes = projected.new_empty((2, *shape[:3]), dtype=torch.float32)
    return *(projected.new_empty(shape) for _ in range(3)), sizes


@torch.library.custom_op(
    "pairedit::from_heads",
    mutates_args=(),
    schema="(Tensor[] gradients, Tensor query, Tensor key, Tensor sizes, Tensor[] norms, "
    "Tensor cosine, Tensor sine, int[] counts) -> Tensor[]",
)
def from_heads(
    gradients: list[Tensor],
    query: Tensor,
    key: Tensor,
    sizes: Tensor,
    norms: list[Tensor],
    cosine: Tensor,
    sine: Tensor,
    counts: list[int],
) -> list[Tensor]:
    """Map the gradients of heads to those of the projections that `to_heads` took.

    With x the projection, r its size, w the weight and y = x r w, which rotated back is what query
    or key are: dx = r (w dy - (y / w) mean(dy y)).

    Args:
        gradients: of query, key and value, [B, N, H, D].
        query: what `to_heads` returned.
        key: the same.
        sizes: the same.
        norms: what it was given.
        cosine: the same.
        sine: the same.
        counts: tokens of each stream.

    Returns:
        [B, n, 3 H D] of each stream.
    """
    if runs_triton(query.device):
        from pairedit.machine.head_kernels import from_heads as kernel

        gradients = [part.contiguous() for part in gradients]
        found, start = [], 0
        for number, count in enumerate(counts):
            weights = norms[2 * number : 2 * number + 2]
            heads = (query.contiguous(), key.contiguous())
            found.append(kernel(gradients, heads, sizes, weights, (cosine, sine), start, count))
            start += count
        return found
    back = (cosine, -sine)
    columns = []
    for kind, head in enumerate((query, key)):
        y, grad = (rotate(part, back).float() for part in (head, gradients[kind]))
        parts = []
        for number, (a, b) in enumerate(
            zip(y.split(counts, 1), grad.split(counts, 1), strict=True)
        ):
            weight = norms[2 * number + kind].float()
            parts.append(weight * b - a / weight * (a * b).mean(-1, keepdim=True))
        columns.append((torch.cat(parts, dim=1) * sizes[kind][..., None]).to(query.dtype))
    joint = torch.stack([*columns, gradients[2]], dim=2).flatten(2)
    return [part.clone(memory_format=torch.contiguous_format) for part in joint.split(counts, 1)]


@from_heads.register_fake
def _(
    gradients: list[Tensor],
    query: Tensor,
    key: Tensor,
    sizes: Tensor,
    norms: list[Tensor],
    cosine: Tensor,
    sine: Tensor,
    counts: list[int],
) -> list[Tensor]:
    rows, _, heads, features = query.shape
    return [query.new_empty((rows, count, 3 * heads * features)) for count in counts]


def _keep_heads(ctx, inputs: tuple, output: tuple[Tensor, ...]) -> None:
    projected, _, _, _, norms, cosine, sine, _ = inputs
    ctx.counts = [x.shape[1] for x in projected]
    ctx.streams = len(projected)
    query, key, _, sizes = output
    ctx.mark_non_differentiable(sizes)
    ctx.save_for_backward(query, key, sizes, cosine, sine, *norms)


def _heads_backward(ctx, query: Tensor, key: Tensor, value: Tensor, _: Tensor | None) -> tuple:
    *heads, cosine, sine = (saved := ctx.saved_tensors)[:5]
    norms = [*saved[5:]]
    found = from_heads([query, key, value], *heads, norms, cosine, sine, ctx.counts)
    nothing = [None] * ctx.streams
    return found, nothing, nothing, None, [None] * len(norms), None, None, None


to_heads.register_autograd(_heads_backward, setup_context=_keep_heads)

"""Own the attention layer of FLUX's blocks: from joint projections to heads, and on.

    heads    projected + LoRAs, query and key normed (RMS) and rotated, text before image

With joint projections they are made in one walk through memory for each stream, the second factor
of the LoRAs included, and so are their gradients: from rotated query and key, which attention keeps
anyway, and the root of each token's norm. Otherwise that is a sequence of operations, which torch
compiles.
Shape letters: B rows, n tokens of one stream, N of all, H heads, D features of a head, R the ranks
of all LoRAs together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from pairedit.lora.rowwise import multiply_apart, multiply_together
from pairedit.machine.attention import KERNELS, Attend
from pairedit.machine.devices import runs_triton

RANK_LIMIT = 128  # of one projection: fit where the kernel makes the heads
SMALL = 1e-4  # of the largest weight of a norm: what is multiplied by less cannot be told afterwards
Rotation = tuple[Tensor, Tensor]  # cosine and sine, float32 [N, D]; neighbours form a pair


class FusedAttention:
    """Run FLUX's attention with the projections of each stream as one product.

    Source: diffusers' FluxAttnProcessor, whose result this is.
    """

    def __init__(self, image: nn.Linear | None, text: nn.Linear | None, attend: Attend) -> None:
        """Take the joint projection of each stream; None leaves it apart."""
        self.image, self.text, self.attend = image, text, attend
        self.invertible = False  # whether the heads' norms are, see `settle`

    def settle(self, attn: nn.Module) -> None:
        """Look once whether the norms of query and key can be told back from what they make."""
        names = ("norm_q", "norm_k", "norm_added_q", "norm_added_k")
        norms = [getattr(attn, name, None) for name in names]
        weights = [norm.weight.abs() for norm in norms if norm is not None]
        self.invertible = all(bool(part.min() > SMALL * part.max()) for part in weights)

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Rotation | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Map [B, N, D], and of a double block the text's tokens, to the same shapes."""
        streams = [(self.image, (attn.to_q, attn.to_k, attn.to_v), hidden_states)]
        norms = [attn.norm_q, attn.norm_k]
        if encoder_hidden_states is not None:  # it stands first
            layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            streams.insert(0, (self.text, layers, encoder_hidden_states))
            norms = [attn.norm_added_q, attn.norm_added_k, *norms]
        if self.image is None or (torch.is_grad_enabled() and not self.invertible):
            parts = [part for stream in streams for part in _project(attn, *stream)]
            mix = partial(self._mix, norms, image_rotary_emb)
            if torch.is_grad_enabled():
                # Only projections stay for the backward pass, which norms and rotates them again.
                mix = partial(checkpoint, mix, use_reentrant=False, context_fn=_kept)
            output = mix(*parts)
        else:
            parts = [multiply_apart(layers, fused, x) for fused, layers, x in streams]
            query, key, value, _ = to_heads(
                [projected for projected, *_ in parts],
                [inner for _, inner, *_ in parts],
                [up for *_, up, _ in parts],
                [rank for *_, ranks in parts for rank in ranks],
                [norm.weight for norm in norms],
                *image_rotary_emb,
                attn.norm_q.eps,
            )
            output = self.attend(query, key, value)
        output = output.flatten(2)
        if encoder_hidden_states is None:
            return output
        length = encoder_hidden_states.shape[1]
        text, image = output[:, :length], output[:, length:]
        return attn.to_out[0](image.contiguous()), attn.to_add_out(text.contiguous())

    def _mix(self, norms: Sequence[nn.Module], rotation: Rotation, *parts: Tensor) -> Tensor:
        """Attend from query, key and value of each stream, [B, n, H, D], one after the other."""
        query, key, value = ([*parts[kind::3]] for kind in range(3))
        query = [norm(part) for norm, part in zip(norms[::2], query, strict=True)]
        key = [norm(part) for norm, part in zip(norms[1::2], key, strict=True)]
        if len(value) > 1:
            query, key, value = ([torch.cat(parts, dim=1)] for parts in (query, key, value))
        return self.attend(rotate(query[0], rotation), rotate(key[0], rotation), value[0])


# What attention itself gives is kept: it takes long, unlike all around it.
_kept = partial(create_selective_checkpoint_contexts, KERNELS)


def _project(
    attn: nn.Module,
    fused: nn.Linear | None,
    layers: Sequence[nn.Module],
    x: Tensor,
) -> Iterator[Tensor]:
    """Give query, key and value of one stream, each [B, N, heads, features of a head]."""
    if fused is None:
        parts = [layer(x) for layer in layers]
    else:
        parts = multiply_together(layers, fused, x).chunk(3, dim=-1)
    return (part.unflatten(-1, (-1, attn.head_dim)) for part in parts)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate each pair of features of [B, N, H, D] by its angle.

    Compiled to half the time of diffusers' apply_rotary_emb, whose result this is.
    """
    cosine, sine = (part[:, None] for part in rotation)
    first = torch.arange(x.shape[-1], device=x.device) % 2 == 0
    others = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (x.float() * cosine + others.float() * torch.where(first, -sine, sine)).to(x.dtype)


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
    tokens, features = cosine.shape
    if runs_triton(projected[0].device):
        from pairedit.machine.kernels import to_heads as kernel

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
        parts = (x + F.linear(low, b)).unflatten(-1, (3, -1, features)).unbind(2)
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
        query: see `to_heads`, as key, sizes, norms, cosine and sine.
        counts: tokens of each stream.

    Returns:
        [B, n, 3 H D] of each stream.
    """
    if runs_triton(query.device):
        from pairedit.machine.kernels import from_heads as kernel

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
        for number, (a, b) in enumerate(zip(y.split(counts, 1), grad.split(counts, 1), strict=True)):
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

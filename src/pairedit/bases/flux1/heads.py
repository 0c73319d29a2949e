"""Own the attention layer of FLUX's blocks: from joint projections to heads, and on.

    heads    projected + LoRAs, query and key normed (RMS) and rotated, text before image

When sampling on a GPU with joint projections they are made in one walk through memory for each
stream, the second factor of the LoRAs included. Otherwise that is a sequence of operations, which
torch compiles.
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

from pairedit.lora.rowwise import low_rank, multiply_together
from pairedit.machine.attention import KERNELS, Attend
from pairedit.machine.devices import runs_triton
from pairedit.machine.rotation import Rotation, rotate

RANK_LIMIT = 128  # of one projection: fit where the kernel makes the heads


class FusedAttention:
    """Run FLUX's attention with the projections of each stream as one product.

    Source: diffusers' FluxAttnProcessor, whose result this is.
    """

    def __init__(self, image: nn.Linear | None, text: nn.Linear | None, attend: Attend) -> None:
        """Take the joint projection of each stream; None leaves it apart."""
        self.image, self.text, self.attend = image, text, attend

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
        if torch.is_grad_enabled() or self.image is None:
            parts = [part for stream in streams for part in _project(attn, *stream)]
            mix = partial(self._mix, norms, image_rotary_emb)
            if torch.is_grad_enabled():
                # Only projections stay for the backward pass, which norms and rotates them again.
                mix = partial(checkpoint, mix, use_reentrant=False, context_fn=_kept)
            output = mix(*parts)
        else:
            loras = [low_rank(layers, x) for _, layers, x in streams]
            heads = to_heads(
                [fused(x) for fused, _, x in streams],
                [inner for inner, _, _ in loras],
                [up for _, up, _ in loras],
                [rank for _, _, ranks in loras for rank in ranks],
                [norm.weight for norm in norms],
                *image_rotary_emb,
                attn.norm_q.eps,
            )
            output = self.attend(*heads)
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


# Said, since torch 2.6 does not read it off `list[Tensor]`.
@torch.library.custom_op(
    "pairedit::to_heads",
    mutates_args=(),
    schema="(Tensor[] projected, Tensor[] inner, Tensor[] up, int[] ranks, Tensor[] norms, "
    "Tensor cosine, Tensor sine, float eps) -> (Tensor, Tensor, Tensor)",
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the heads of all streams, without a gradient.

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
        Query, key and value, [B, N, H, D].
    """
    tokens, features = cosine.shape
    if runs_triton(projected[0].device):
        from pairedit.machine.kernels import to_heads as kernel

        shape = (len(projected[0]), tokens, projected[0].shape[-1] // (3 * features), features)
        heads = tuple(projected[0].new_empty(shape) for _ in range(3))
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
        weights = norms[2 * number : 2 * number + 2]
        normed = [
            F.rms_norm(part, part.shape[-1:], weight, eps)
            for part, weight in zip(parts[:2], weights, strict=True)
        ]
        streams.append([*normed, parts[2]])
    query, key, value = (torch.cat(parts, dim=1) for parts in zip(*streams, strict=True))
    return rotate(query, (cosine, sine)), rotate(key, (cosine, sine)), value


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
) -> tuple[Tensor, Tensor, Tensor]:
    tokens, features = cosine.shape
    first = projected[0]
    shape = (len(first), tokens, first.shape[-1] // (3 * features), features)
    return first.new_empty(shape), first.new_empty(shape), first.new_empty(shape)

"""Own the attention layer of FLUX's blocks: from joint projections to heads, and on.

With joint projections, and norms that can be undone (see `machine.heads`), heads and their
gradients are made in one walk through memory for each stream. Otherwise they are a sequence of
operations, which torch compiles.
Shape letters: B rows, n tokens of one stream, N of all, H heads, D features of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from pairedit.lora.rowwise import multiply_apart, multiply_together
from pairedit.machine.attention import KERNELS, Attend
from pairedit.machine.heads import to_heads
from pairedit.machine.rotation import Rotation, rotate

# Share of the largest weight of a norm: what is multiplied by less cannot be undone.
SMALL = 1e-4


class FusedAttention:
    """Run FLUX's attention with the projections of each stream as one product.

    Source: diffusers' FluxAttnProcessor, whose result this is.
    """

    def __init__(self, image: nn.Linear | None, text: nn.Linear | None, attend: Attend) -> None:
        """Take the joint projection of each stream; None leaves it apart."""
        self.image, self.text, self.attend = image, text, attend
        self.invertible = False  # whether the heads' norms are, see `settle`

    def settle(self, attn: nn.Module) -> None:
        """Look once whether the norms of query and key can be undone."""
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

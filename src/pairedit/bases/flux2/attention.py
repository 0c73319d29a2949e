"""Own the attention of FLUX.2's blocks: diffusers' steps with faster rotation and kernels.

Shape letters: B rows, N tokens, H heads, D features of a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.transformers.transformer_flux2 import Flux2ParallelSelfAttention
from torch import Tensor, nn

from pairedit.machine.attention import Attend
from pairedit.machine.rotation import Rotation, rotate


def fuse(block: nn.Module, attend: Attend) -> None:
    """Let a block of either kind attend by `attend`; no weights and no names change."""
    single = isinstance(block.attn, Flux2ParallelSelfAttention)
    block.attn.set_processor(Single(attend) if single else Double(attend))


@dataclass(frozen=True)
class Double:
    """Attend over the tokens of text and image, of which each has projections of its own.

    Source: diffusers' Flux2AttnProcessor, whose result this is.
    """

    attend: Attend

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
        image_rotary_emb: Rotation | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Map the image's and the text's tokens, [B, N, D]; return the image's first."""
        text, image = encoder_hidden_states, hidden_states
        streams = (
            (text, attn.add_q_proj, attn.add_k_proj, attn.add_v_proj),
            (image, attn.to_q, attn.to_k, attn.to_v),
        )
        heads = [
            [project(x).unflatten(-1, (-1, attn.head_dim)) for project in projections]
            for x, *projections in streams
        ]
        norms = ((attn.norm_added_q, attn.norm_added_k), (attn.norm_q, attn.norm_k))
        query, key = (
            rotate(
                torch.cat(
                    [norm[part](one[part]) for norm, one in zip(norms, heads, strict=True)], dim=1
                ),
                image_rotary_emb,
            )
            for part in (0, 1)
        )
        value = torch.cat([one[2] for one in heads], dim=1)
        output = self.attend(query, key, value).flatten(2)
        text, image = output.split([text.shape[1], image.shape[1]], dim=1)
        return attn.to_out[0](image), attn.to_add_out(text)


@dataclass(frozen=True)
class Single:
    """Attend over all tokens beside the MLP, whose projections are the attention's.

    Source: diffusers' Flux2ParallelSelfAttnProcessor, whose result this is.
    """

    attend: Attend

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        attention_mask: None = None,
        image_rotary_emb: Rotation | None = None,
    ) -> Tensor:
        """Map [B, N, D] to the same."""
        projected = attn.to_qkv_mlp_proj(hidden_states)
        width = attn.inner_dim
        *heads, hidden = projected.split([width] * 3 + [projected.shape[-1] - 3 * width], dim=-1)
        query, key, value = (part.unflatten(-1, (-1, attn.head_dim)) for part in heads)
        query = rotate(attn.norm_q(query), image_rotary_emb)
        key = rotate(attn.norm_k(key), image_rotary_emb)
        attended = self.attend(query, key, value).flatten(2)
        return attn.to_out(torch.cat([attended, attn.mlp_act_fn(hidden)], dim=-1))

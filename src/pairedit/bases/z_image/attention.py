"""Own the attention of Z-Image's blocks: diffusers' steps with faster rotation and kernels.

diffusers rotates by complex numbers, for which torch's compiler has no code: every step of them is
a walk through memory of its own.
Shape letters: B rows, N tokens, H heads, D features of a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairedit.machine.attention import Attend
from pairedit.machine.rotation import rotate


def fuse(block: nn.Module, attend: Attend) -> None:
    """Let a block attend by `attend`; no weights and no names change."""
    block.attention.set_processor(Attention(attend))


@dataclass(frozen=True)
class Attention:
    """Attend over the tokens of one sequence.

    Source: diffusers' ZSingleStreamAttnProcessor, whose result this is.
    """

    attend: Attend

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Tensor:
        """Map [B, N, D] to the same.

        Args:
            attn: the layer.
            hidden_states: the tokens.
            encoder_hidden_states: of no use here.
            attention_mask: bool [B, N], where rows are of unlike lengths.
            freqs_cis: complex64 [B, N, half of a head's features], cosine + i sine.
        """
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1))
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        angles = torch.view_as_real(freqs_cis).repeat_interleave(2, dim=-2).unbind(-1)
        query, key = rotate(attn.norm_q(query), angles), rotate(attn.norm_k(key), angles)
        if attention_mask is None:
            output = self.attend(query, key, value)
        else:
            heads = (part.transpose(1, 2) for part in (query, key, value))
            mask = attention_mask[:, None, None]
            output = F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2)
        return attn.to_out[0](output.flatten(2))

"""Own the MLPs of the blocks, in as few walks through memory as the products allow.

    y = W2 [beside, gelu(W1 x + b1)] + b2        beside: a single block's attention, else nothing

In fp8 gelu is part of the rounding after it, under a gradient too. Otherwise, when sampling, it is
part of the product before it, and what stands side by side is never copied together. With LoRAs on
these layers, on int8 and nf4 bases, and under a gradient in bf16 this is diffusers' own sequence of
operations.
Shape letters: B rows, N tokens, M = B N, D features, K those in between.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock
from torch import Tensor, nn

from pairedit.machine.devices import runs_triton
from pairedit.machine.product import add_product
from pairedit.machine.quantised import F8, Float8, round_rows


def fuse_mlps(block: nn.Module) -> None:
    """Let the MLPs of a FLUX block run by `feed`; only methods change, no weights and no names."""
    if isinstance(block, FluxSingleTransformerBlock):
        block.__class__ = SingleBlock
    for part in block.children():
        if isinstance(part, FeedForward):
            part.__class__ = Mlp


class SingleBlock(FluxSingleTransformerBlock):
    """Run a single block, whose MLP stands beside its attention.

    Between single blocks all tokens stay side by side: to part and join them again would be six
    walks through memory, there and back.
    Source: diffusers' FluxSingleTransformerBlock, whose result this is (but in float16, which that
    one clips).
    """

    last = False  # of all blocks: what it gives is the image's
    compiled = False

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        joint_attention_kwargs: dict[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Map the image's and the text's tokens, [B, tokens, D]; return the text's first.

        Args:
            hidden_states: the image's, or those of both, the text's first, as other single blocks
                return them in this place.
            encoder_hidden_states: the text's as they were before all single blocks; of interest is
                how many there are.
            temb: what `norm` takes.
            image_rotary_emb: cosine and sine of all tokens, the text's first, float32 [N, features
                of a head].
            joint_attention_kwargs: for the attention.
        """
        joint = hidden_states
        if joint.shape[1] < len(image_rotary_emb[0]):
            joint = torch.cat([encoder_hidden_states, joint], dim=1)
        given = (joint, temb, image_rotary_emb, joint_attention_kwargs or {})
        text = encoder_hidden_states.shape[1] if self.last else 0
        if self.compiled:
            return encoder_hidden_states, self.transform(*given)[:, text:]
        return encoder_hidden_states, self.transform(*given, text)

    def transform(
        self,
        joint: Tensor,
        temb: Tensor,
        rotation: tuple[Tensor, Tensor],
        more: dict[str, Any],
        skipped: int = 0,
    ) -> Tensor:
        """Map all tokens to the same, but for the first ones, which nobody wants; see `forward`."""
        x, gate = self.norm(joint, emb=temb)
        attended = self.attn(x, image_rotary_emb=rotation, **more)
        if skipped:
            joint, x, attended = (part[:, skipped:] for part in (joint, x, attended))
        return torch.addcmul(joint, gate[:, None], feed(self.proj_mlp, self.proj_out, x, attended))

    def compile(self, **options: Any) -> None:
        """Compile what all single blocks have in common.

        The last one skips the text. To compile that apart takes longer than it saves, so it runs as
        it is; in fewer bits that would be many more operations.
        """
        if self.last and type(self.proj_mlp) is nn.Linear:
            return
        self.transform, self.compiled = torch.compile(self.transform, **options), True


class Mlp(FeedForward):
    """Run the MLP of a double block."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map [B, N, D] to the same."""
        return feed(self.net[0].proj, self.net[2], hidden_states)


def feed(up: nn.Module, down: nn.Module, x: Tensor, beside: Tensor | None = None) -> Tensor:
    """Compute the y of this module's head.

    Args:
        up: W1 and b1.
        down: W2 and b2.
        x: [B, N, D].
        beside: [B, N, features].

    Returns:
        [B, N, D].
    """
    kinds = {type(up), type(down)}
    if not torch.is_grad_enabled() and kinds == {nn.Linear}:
        y = _feed_plain(up, down, x.flatten(0, 1), None if beside is None else beside.flatten(0, 1))
    elif kinds == {Float8}:
        beside = x[..., :0] if beside is None else beside
        y = _Rounded.apply(x.flatten(0, 1), beside.flatten(0, 1), up, down)
    else:
        hidden = F.gelu(up(x), approximate="tanh")
        return down(hidden if beside is None else torch.cat([beside, hidden], dim=-1))
    return y.unflatten(0, x.shape[:2])


def _feed_plain(up: nn.Linear, down: nn.Linear, x: Tensor, beside: Tensor | None) -> Tensor:
    """Compute y from [M, D] to [M, D]."""
    hidden = multiply_gelu(x, up.weight, up.bias)
    if beside is None:
        return F.linear(hidden, down.weight, down.bias)
    first, second = down.weight.split([beside.shape[1], hidden.shape[1]], dim=1)
    y = F.linear(beside, first, down.bias)
    add_product(y, hidden, second.T)
    return y


class _Rounded(torch.autograd.Function):
    """Compute y in fp8, from [M, D] to the same; gelu and its gradient are parts of roundings."""

    @staticmethod
    def forward(ctx, x: Tensor, beside: Tensor, up: Float8, down: Float8) -> Tensor:
        hidden = up.multiply(x)
        ctx.up, ctx.down = up, down
        ctx.save_for_backward(hidden)
        return down.multiply_rounded(*round_gelu(beside, hidden), x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (hidden,) = ctx.saved_tensors
        back = ctx.down.multiply_back(grad)
        rounded, scale = round_gelu_back(back, hidden, ctx.up.scale)
        to_x = ctx.up.multiply_rounded_back(rounded, scale, grad.dtype)
        return to_x, back[:, : back.shape[1] - hidden.shape[1]], None, None


@torch.library.custom_op("pairedit::multiply_gelu", mutates_args=())
def multiply_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute gelu(x W^T + b) of [M, D]; compiled by torch, gelu would be a walk of its own."""
    if x.is_cuda:
        return torch._addmm_activation(bias, x, weight.T, use_gelu=True)  # in its tanh form
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


@multiply_gelu.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(len(x), len(weight))


@torch.library.custom_op("pairedit::round_gelu", mutates_args=())
def round_gelu(beside: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Round [beside, gelu(hidden)] to fp8; see `round_rows`.

    Args:
        beside: [M, features], which may be none.
        hidden: [M, K].

    Returns:
        fp8 [M, features + K], and float32 [M, 1].
    """
    if runs_triton(hidden.device):
        from pairedit.machine.gelu_kernels import round_gelu as kernel

        return kernel(beside.contiguous(), hidden.contiguous())
    return round_rows(torch.cat([beside, F.gelu(hidden, approximate="tanh")], dim=1))


@round_gelu.register_fake
def _(beside: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    width = beside.shape[1] + hidden.shape[1]
    scale = hidden.new_empty((len(hidden), 1), dtype=torch.float32)
    return hidden.new_empty((len(hidden), width), dtype=F8), scale


@torch.library.custom_op("pairedit::round_gelu_back", mutates_args=())
def round_gelu_back(back: Tensor, hidden: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Round the gradient of what gelu was given, times the scales of the weights before it.

    Args:
        back: the gradient of [beside, gelu(hidden)], [M, features + K].
        hidden: [M, K].
        times: float32 [K, 1].

    Returns:
        fp8 [M, K], and float32 [M, 1]; see `round_rows`.
    """
    if runs_triton(hidden.device):
        from pairedit.machine.gelu_kernels import round_gelu_back as kernel

        return kernel(back.contiguous(), hidden.contiguous(), times)
    activated = back[:, back.shape[1] - hidden.shape[1] :]
    grad = torch.ops.aten.gelu_backward(activated, hidden, approximate="tanh")
    return round_rows(grad * times.view(-1).to(grad.dtype))


@round_gelu_back.register_fake
def _(back: Tensor, hidden: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    scale = hidden.new_empty((len(hidden), 1), dtype=torch.float32)
    return torch.empty_like(hidden, dtype=F8), scale

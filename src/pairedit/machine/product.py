"""Own the product of a frozen layer and all LoRAs beside it, as one operation there and back.

    y = x W^T + b + ((x A^T + c) * scales) B^T

A is the A of all LoRAs below each other, B their B side by side; the columns of `scales` and
`learns` [B, 1, R] belong to the rows of A. A and B learn from the batch rows that `learns` marks.
c [R] is there where a LoRA adds something whatever comes in.
Shape letters: B rows, N tokens, R the ranks of all LoRAs together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairedit.machine.quantised import Float8, Quantised, back_through, weight_of


def multiply(
    layer: nn.Linear,
    x: Tensor,
    down: Tensor,
    up: Tensor,
    scales: Tensor,
    learns: Tensor,
    constant: Tensor | None = None,
) -> Tensor:
    """Map [B, N, in] to [B, N, out].

    Args:
        layer: frozen, quantised or not.
        x: the input, in the precision of the base as all that follows.
        down: A, [R, in].
        up: B, [out, R].
        scales: of every LoRA in each row, [B, 1, R].
        learns: 1 where a LoRA learns, else 0, [B, 1, R].
        constant: c, [R]; it never learns.
    """
    if torch.is_grad_enabled():
        return _Product.apply(x, down, up, scales, learns, layer, constant)
    return _both(layer, x, F.linear(x, down, constant) * scales, up)


def multiply_apart(
    layer: nn.Linear,
    x: Tensor,
    down: Tensor,
    up: Tensor,
    scales: Tensor,
    learns: Tensor,
    constant: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Leave the product with B to whoever comes next, and is to add it; see `multiply`.

    Under a gradient the first is taken to be y: what comes next passes the gradient of y to it,
    and none to the second, which has no gradient here.

    Returns:
        x W^T + b [B, N, out], and (x A^T + c) * scales [B, N, R].
    """
    if torch.is_grad_enabled():
        return _Apart.apply(x, down, up, scales, learns, layer, constant)
    return layer(x), F.linear(x, down, constant) * scales


class _Product(torch.autograd.Function):
    """Give x, A and B their gradients."""

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        down: Tensor,
        up: Tensor,
        scales: Tensor,
        learns: Tensor,
        layer: nn.Linear,
        constant: Tensor | None,
    ) -> Tensor:
        inner = F.linear(x, down, constant) * scales
        ctx.layer = layer
        ctx.save_for_backward(x, down, up, scales, learns, inner)
        return _both(layer, x, inner, up)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _back(ctx, grad)


class _Apart(torch.autograd.Function):
    """Give x, A and B the gradients of `_Product`."""

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        down: Tensor,
        up: Tensor,
        scales: Tensor,
        learns: Tensor,
        layer: nn.Linear,
        constant: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        inner = F.linear(x, down, constant) * scales
        ctx.layer = layer
        ctx.save_for_backward(x, down, up, scales, learns, inner)
        ctx.mark_non_differentiable(inner)
        if isinstance(layer, Quantised):
            return layer.multiply(x), inner
        return F.linear(x, weight_of(layer), layer.bias), inner

    @staticmethod
    def backward(ctx, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        return _back(ctx, grad)


def _back(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of x, A and B, and none of the others, from that of y."""
    x, down, up, scales, learns, inner = ctx.saved_tensors
    x, grad = x.flatten(0, -2), grad.flatten(0, -2)
    to_inner = (grad @ up).view_as(inner) * scales
    if isinstance(ctx.layer, Float8):
        to_x = ctx.layer.multiply_back(grad)
        add_product(to_x, to_inner.flatten(0, -2), down)
    else:
        to_x = to_inner.flatten(0, -2) @ down
        add_product(to_x, *back_through(ctx.layer, grad))
    to_down = (to_inner * learns).flatten(0, -2).T @ x
    to_up = grad.T @ (inner * learns).flatten(0, -2)
    return to_x.unflatten(0, inner.shape[:-1]), to_down, to_up, None, None, None, None


def _both(layer: nn.Linear, x: Tensor, inner: Tensor, up: Tensor) -> Tensor:
    """Add what B makes of `inner` [B, N, R] and what the layer makes of x."""
    if isinstance(layer, Float8):
        result = layer.multiply(x)
        add_product(result.view(-1, result.shape[-1]), inner.flatten(0, -2), up.T)
        return result
    # The large product adds itself to the small one while it runs, not the other way round.
    result = F.linear(inner.flatten(0, -2), up, layer.bias)
    add_product(result, x.flatten(0, -2), weight_of(layer).T)
    return result.unflatten(0, inner.shape[:-1])


@torch.library.custom_op("pairedit::add_product", mutates_args={"result"})
def add_product(result: Tensor, left: Tensor, right: Tensor) -> None:
    """Add [M, K] times [K, N] to [M, N] in place; torch's own would be compiled to a copy first."""
    result.addmm_(left, right)

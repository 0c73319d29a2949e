"""Own attention by cuDNN, on Hopper twice as fast as the flash kernels that torch prefers.

As part of compiled code torch's own binding of it fails: 2.11 reads memory that is not there in
the backward pass. So compiled code sees one operation. Its inputs may be strided, its outputs are
contiguous.
Shape letters: B rows, N tokens, H heads, D features of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

HOPPER = (9, 0)
TOLERANCE = 2e-2  # relative, of bf16 results that were summed in another order


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def choose_attention(device: torch.device, dtype: torch.dtype) -> Attend:
    """Return the fastest attention without a mask, from [B, N, H, D] three times to the same."""
    return cudnn if device.type == "cuda" and dtype == torch.bfloat16 and _agrees() else plain


def cudnn(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend by cuDNN."""
    return _attend(query, key, value)[0]


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend by what torch prefers."""
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


@functools.cache
def _agrees() -> bool:
    """Say whether cuDNN's attention runs on this GPU and agrees with torch's own."""
    if torch.cuda.get_device_capability() < HOPPER:
        return False
    generator = torch.Generator("cuda").manual_seed(0)
    # Strided, as parts of a joint projection are.
    joint = torch.randn(1, 256, 8, 128, device="cuda", dtype=torch.bfloat16, generator=generator)
    inputs = joint.split(2, dim=2)

    def gradients(function) -> Tensor:
        parts = [part.detach().requires_grad_(True) for part in inputs[:3]]
        with torch.enable_grad():
            output = function(*parts)
        return torch.stack([output, *torch.autograd.grad(output, parts, inputs[3])]).float()

    try:
        found = gradients(cudnn)
    except RuntimeError:
        return False
    expected = gradients(plain)
    return bool((found - expected).norm() < TOLERANCE * expected.norm())


@torch.library.custom_op("pairedit::attend", mutates_args=())
def _attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Attend, all [B, N, H, D].

    Returns:
        The output and, for the backward pass, log-sum-exp [B, H, N, 1].
    """
    heads = [part.transpose(1, 2) for part in (query, key, value)]
    output, sums, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(*heads, None, True)
    return output.transpose(1, 2).contiguous(), sums.reshape(*output.shape[:3], 1)


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    rows, tokens, heads, _ = query.shape
    sums = query.new_empty((rows, heads, tokens, 1), dtype=torch.float32)
    return query.new_empty(query.shape), sums


@torch.library.custom_op("pairedit::attend_backward", mutates_args=())
def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value, [B, N, H, D]."""
    # cuDNN takes the gradient for a tensor that lies like the output; the others may be strided.
    parts = (grad.contiguous(), query, key, value, output)
    heads = [part.transpose(1, 2) for part in parts]
    nothing = torch.zeros((), dtype=torch.int64, device=query.device)  # no dropout, no sequences
    tokens = query.shape[1]
    found = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        *heads, sums, nothing, nothing, None, None, None, tokens, tokens, 0.0, False
    )
    return tuple(part.transpose(1, 2).contiguous() for part in found)


@_attend_backward.register_fake
def _(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, sums: Tensor):
    return tuple(part.new_empty(part.shape) for part in (query, key, value))


def _keep(ctx, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    return _attend_backward(grad, *ctx.saved_tensors)


_attend.register_autograd(_backward, setup_context=_keep)

# Every operation that attention may turn out to be.
KERNELS = [
    torch.ops.pairedit.attend.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
]

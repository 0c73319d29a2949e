"""Own bases of fewer bits: fp8 and int8 by torchao, nf4 by bitsandbytes.

The only module that knows torchao and bitsandbytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairedit.machine.tabled import Tabled

QUANTISED = ("fp8", "int8", "nf4")
F8, F8_MAX = torch.float8_e4m3fn, 448.0
ADA = (8, 9)  # compute capability of the first GPUs that multiply fp8
SMALLEST = 1e-12  # scale times F8_MAX
EXTRA = "pip install 'pairedit[quantization]'"

Quantise = Callable[[nn.Linear], None]  # in place


class Quantised(nn.Linear):
    """Hold weights of fewer bits as plain tensors; the gradient passes through their full values.

    Tensor classes of the libraries themselves cannot be compiled together with a gradient.
    """

    def dense(self) -> Tensor:
        """Return the weights [out, in] in the precision that they were quantised from."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        if torch.is_grad_enabled():
            return _Frozen.apply(x, self)
        return self.multiply(x)

    def multiply(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out], without gradient."""
        return F.linear(x, self.dense(), self.bias)

    def back(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return two factors of the input's gradient, from the output's [..., out]."""
        return grad, self.dense()

    def multiply_back(self, grad: Tensor) -> Tensor:
        """Map the gradient of the output, [..., out], to that of the input, [..., in]."""
        left, right = self.back(grad)
        return left @ right


class EightBit(Quantised):
    """Hold int8 weights, with a scale for each output."""

    def take(self, quantised: Tensor) -> None:
        """Take torchao's tensor apart.

        Args:
            quantised: its qdata is [out, in], its scale [out, 1].
        """
        self.dtype = quantised.dtype
        self.weight = nn.Parameter(quantised.qdata, requires_grad=False)
        self.register_buffer("scale", quantised.scale.float().view(-1, 1), persistent=False)

    def dense(self) -> Tensor:
        """Return the weights [out, in] in the precision that they were quantised from."""
        return (self.weight.float() * self.scale).to(self.dtype)

    def back(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return two factors of the input's gradient, from the output's [..., out].

        Not `dense`: compiled, what the way there made of all weights would be kept for this way.
        """
        return grad * self.scale.view(-1).to(grad.dtype), self.weight.to(self.dtype)


class Float8(EightBit):
    """Hold fp8 weights, and round every token to fp8 by a scale of its own, there and back."""

    def multiply(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out], without gradient."""
        rounded, scale = round_rows(x.flatten(0, -2))
        return self.multiply_rounded(rounded, scale, x.dtype).unflatten(0, x.shape[:-1])

    def multiply_rounded(self, rounded: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Map fp8 [M, in] with scales [M, 1], see `round_rows`, to [M, out]."""
        return torch._scaled_mm(
            rounded,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale.t(),
            bias=self.bias,
            out_dtype=dtype,
            use_fast_accum=True,
        )

    def multiply_back(self, grad: Tensor) -> Tensor:
        """Map the gradient of the output, [..., out], to that of the input, [..., in].

        The scales of the weights belong to what is summed over here, so the gradient takes them
        before it is rounded; compiled, both are part of what makes the gradient. The product wants
        the weights transposed. They are copied so for its time: on an H100 that costs 7 of 153 ms a
        step of FLUX.1-dev, and to hold them twice would cost 8.4 GiB.
        """
        flat = grad.flatten(0, -2)
        rounded, scale = round_rows(flat * self.scale.view(-1).to(grad.dtype))
        return self.multiply_rounded_back(rounded, scale, grad.dtype).unflatten(0, grad.shape[:-1])

    def multiply_rounded_back(self, rounded: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Map fp8 [M, out] with scales [M, 1], which took those of the weights, to [M, in]."""
        return torch._scaled_mm(
            rounded,
            self.weight.t().contiguous().t(),
            scale_a=scale,
            scale_b=scale.new_ones(1, self.weight.shape[1]),
            out_dtype=dtype,
            use_fast_accum=True,
        )


def round_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Round [M, K] to fp8, each row after a division by its own float32 scale, of [M, 1]."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=SMALLEST) / F8_MAX
    return (x.float() / scale).clamp(-F8_MAX, F8_MAX).to(F8), scale


class FourBit(Quantised):
    """Hold nf4 weights, which bitsandbytes packs two to a byte."""

    def pack(self) -> FourBit:
        """Quantise the weights in place."""
        from bitsandbytes.functional import quantize_4bit

        packed, state = quantize_4bit(self.weight.data, quant_type="nf4", blocksize=64)
        self.shape, self.dtype = list(state.shape), state.dtype
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("absmax", state.absmax, persistent=False)
        return self

    def dense(self) -> Tensor:
        """Return the weights [out, in] in the precision that they were quantised from."""
        return self._dense(self.absmax)

    def back(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Return two factors of the input's gradient, from the output's [..., out]."""
        # A call of its own, see `EightBit.back`.
        return grad, self._dense(self.absmax.clone())

    def _dense(self, absmax: Tensor) -> Tensor:
        return torch.ops.bitsandbytes.dequantize_4bit(
            self.weight, absmax, 64, "nf4", self.shape, self.dtype
        )


class _Part(Quantised):
    """Name a third of a joint projection; its own weights are gone."""

    def dense(self) -> Tensor:
        """Return the weights [out, in] in the precision that they were quantised from."""
        fused, number = self.whole
        return fused.dense().chunk(3)[number]


class _Frozen(torch.autograd.Function):
    """Give a quantised layer the gradient of its input; its weights have none."""

    @staticmethod
    def forward(ctx, x: Tensor, layer: Quantised) -> Tensor:
        ctx.layer = layer
        return layer.multiply(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.multiply_back(grad), None


def quantiser(precision: str) -> Quantise | None:
    """Return what quantises a linear layer on its device; None for plain precisions.

    Raises:
        ValueError: the library that does it is missing, or the GPU cannot.
    """
    if precision not in QUANTISED:
        return None
    if precision == "fp8" and torch.cuda.get_device_capability() < ADA:
        name = torch.cuda.get_device_name()
        raise ValueError(f"precision=fp8: needs a GPU from Ada or Hopper on, this one is {name}")
    try:
        with warnings.catch_warnings():
            # torchao deprecates parts of itself while it is imported.
            warnings.simplefilter("ignore")
            if precision == "nf4":
                import bitsandbytes  # noqa: F401

                return _pack
            from torchao.quantization import (
                Float8DynamicActivationFloat8WeightConfig,
                Int8WeightOnlyConfig,
                PerRow,
                quantize_,
            )
    except ImportError as error:
        raise ValueError(f"precision={precision}: {error}; {EXTRA}") from error
    kind, config = (
        (
            Float8,
            Float8DynamicActivationFloat8WeightConfig(
                granularity=PerRow(), set_inductor_config=False
            ),
        )
        if precision == "fp8"
        else (EightBit, Int8WeightOnlyConfig(version=2, set_inductor_config=False))
    )

    def quantise(layer: nn.Linear) -> None:
        quantize_(layer, config)
        quantised, layer.__class__ = layer.weight, kind
        layer.take(quantised)

    return quantise


def _pack(layer: nn.Linear) -> None:
    """Quantise a linear layer to 4 bits."""
    layer.__class__ = FourBit
    layer.pack()


def name_parts(layers: Sequence[nn.Linear], whole: nn.Linear) -> None:
    """Let layers whose weights a quantised one holds side by side name their parts of it."""
    for number, layer in enumerate(layers):
        nothing = layer.weight.new_full((), math.nan).expand(layer.weight.shape)
        layer.weight = nn.Parameter(nothing, requires_grad=False)
        layer.__class__ = _Part
        layer.whole = (whole, number)  # in a tuple, so that it is no child


def weight_of(layer: nn.Linear) -> Tensor:
    """Return the weights [out, in] of a linear layer, quantised, tabled or plain."""
    return layer.dense() if isinstance(layer, Quantised | Tabled) else layer.weight


def back_through(layer: nn.Linear, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return two factors of the input's gradient, of a linear layer, quantised or not."""
    return layer.back(grad) if isinstance(layer, Quantised) else (grad, layer.weight)

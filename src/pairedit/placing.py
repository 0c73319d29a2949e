"""Own how the transformer lies on the accelerator: quantised, fused, compiled.

    modulations   linear(silu(embedding)) of every norm, for each (noise level, prompt) of a job,
                  are a table; a quarter of FLUX.1-dev's weights then stays off the accelerator
    projections   q, k and v of one stream are one matrix product
    quantised     the linear layers of the blocks: fp8 and int8 by torchao, nf4 by bitsandbytes

The only module that knows torchao and bitsandbytes.
Shape letters: B rows, K modulations, N tokens, D features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairedit.attention import Attend, choose_attention
from pairedit.hardware import Hardware

BLOCKS = ("transformer_blocks", "single_transformer_blocks")
NORMS = ("norm1", "norm1_context", "norm")
QUANTISED = ("fp8", "int8", "nf4")
EXTRA = "pip install 'pairedit[quantization]'"


def place(transformer: nn.Module, hardware: Hardware, device: torch.device) -> Modulations | None:
    """Move a diffusers FLUX transformer to the device, block by block, as the hardware asks.

    Returns:
        What computes the modulations of a job, which must be called before the first pass; None
        where the transformer computes them itself.

    Raises:
        ValueError: a library is missing.
    """
    quantise = _quantiser(hardware.precision)
    modulations = Modulations(transformer, device) if hardware.fused else None
    attend = choose_attention(device, transformer.dtype)
    for block in _blocks(transformer):
        block.to(device)
        if hardware.fused:
            # 4-bit weights do not stand side by side.
            _fuse(block.attn, attend, quantise, wanted=hardware.precision != "nf4")
        if quantise:
            for layer in block.modules():
                if type(layer) is nn.Linear:
                    quantise(layer)
    transformer.to(device)
    if hardware.compile:
        torch._dynamo.config.recompile_limit = 64  # LoRAs and batch sizes of one process
        transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)
    return modulations


def start_compiler() -> None:
    """Start the processes that will compile, so that they are there when weights have loaded."""
    from torch._inductor.async_compile import AsyncCompile

    AsyncCompile.warm_pool()


def checkpoint_blocks(transformer: nn.Module, share: float) -> None:
    """Let this share of the blocks run again in the backward pass, 0 for none."""
    if not share:
        transformer.disable_gradient_checkpointing()
        return
    blocks = list(_blocks(transformer))
    again = {id(block) for block in blocks[: round(share * len(blocks))]}

    def run(block: nn.Module, *inputs: Tensor) -> Tensor:
        if id(block) in again:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    transformer.enable_gradient_checkpointing(run)


class Modulations:
    """Compute the modulations of a job ahead, and give each pass its rows."""

    def __init__(self, transformer: nn.Module, device: torch.device) -> None:
        """Take the modulating layers out of a transformer that is still on the CPU."""
        self._device = device
        self._embed = transformer.time_text_embed
        self._layers: list[tuple[_Table, nn.Linear]] = []
        self._clock = _Clock()
        transformer.time_text_embed = self._clock
        for block in _blocks(transformer):
            for name in NORMS:
                if norm := getattr(block, name, None):
                    norm.silu = nn.Identity()
                    norm.linear = self._table(norm.linear)
        transformer.norm_out = _LastNorm(
            transformer.norm_out.norm, self._table(transformer.norm_out.linear)
        )

    def _table(self, layer: nn.Linear) -> _Table:
        table = _Table()
        self._layers.append((table, layer))
        return table

    @torch.no_grad()
    def compute(self, clocks: Tensor, guidance: Tensor | None, pooled: Tensor) -> None:
        """Fill the tables for K (noise level, guidance, prompt); see the transformer's forward."""
        scaled = [clocks.to(pooled.dtype) * 1000]
        if guidance is not None:
            scaled.append(guidance.to(pooled.dtype) * 1000)
        embedded = F.silu(self._embed.to(self._device)(*scaled, pooled))
        self._embed.to("cpu")
        for table, layer in self._layers:
            # Streamed through the accelerator, never all of them there.
            weight, bias = layer.weight.to(self._device), layer.bias.to(self._device)
            table.fill(F.linear(embedded, weight, bias))

    def select(self, index: Tensor) -> None:
        """Choose the modulation of each row of the coming pass, int64 [B] on the device."""
        self._clock.index = index


class _Clock(nn.Module):
    """Stand for the embedding of noise level, guidance and prompt: the number of its modulation."""

    index: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return int64 [B]."""
        return self.index


class _Table(nn.Module):
    """Stand for one modulating layer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("values", torch.empty(0), persistent=False)

    def fill(self, values: Tensor) -> None:
        """Keep [K, features]; in place where they fit, as a CUDA graph remembers addresses."""
        if self.values.shape == values.shape:
            self.values.copy_(values)
        else:
            self.values = values

    def forward(self, index: Tensor) -> Tensor:
        """Return [B, features]."""
        return self.values[index]


class _LastNorm(nn.Module):
    """Stand for diffusers' AdaLayerNormContinuous, which would round the index."""

    def __init__(self, norm: nn.Module, table: _Table) -> None:
        super().__init__()
        self.norm, self.table = norm, table

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """Modulate [B, N, D]."""
        scale, shift = self.table(index).chunk(2, dim=1)
        return self.norm(x) * (1 + scale)[:, None] + shift[:, None]


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
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Map [B, N, D], and of a double block the text's tokens, to the same shapes."""
        layers = (attn.to_q, attn.to_k, attn.to_v)
        query, key, value = _project(attn, layers, self.image, hidden_states)
        query, key = attn.norm_q(query), attn.norm_k(key)
        length = 0
        if encoder_hidden_states is not None:
            length = encoder_hidden_states.shape[1]
            layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            q, k, v = _project(attn, layers, self.text, encoder_hidden_states)
            query = torch.cat([attn.norm_added_q(q), query], dim=1)
            key = torch.cat([attn.norm_added_k(k), key], dim=1)
            value = torch.cat([v, value], dim=1)
        query = apply_rotary_emb(query, image_rotary_emb, sequence_dim=1)
        key = apply_rotary_emb(key, image_rotary_emb, sequence_dim=1)
        output = self.attend(query, key, value).flatten(2)
        if encoder_hidden_states is None:
            return output
        text, image = output[:, :length], output[:, length:]
        return attn.to_out[0](image.contiguous()), attn.to_add_out(text.contiguous())


def _project(
    attn: nn.Module,
    layers: Sequence[nn.Module],
    fused: nn.Linear | None,
    x: Tensor,
) -> Iterator[Tensor]:
    """Give query, key and value of one stream, each [B, N, heads, features of a head]."""
    parts = [layer(x) for layer in layers] if fused is None else fused(x).chunk(3, dim=-1)
    if fused is not None and hasattr(layers[0], "add_together"):
        # Layers with LoRAs, which they would have added themselves.
        parts = layers[0].add_together(layers, x, parts)
    return (part.unflatten(-1, (-1, attn.head_dim)) for part in parts)


def _blocks(transformer: nn.Module) -> Iterator[nn.Module]:
    """Walk over the blocks, in the order they run in."""
    for kind in BLOCKS:
        yield from getattr(transformer, kind)


def _fuse(attn: nn.Module, attend: Attend, quantise: Quantise | None, *, wanted: bool) -> None:
    """Lay the projections of each stream side by side and let one product make them."""
    streams: list[nn.Linear | None] = []
    for names in (("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")):
        layers = [getattr(attn, name, None) for name in names]
        streams.append(_side_by_side(layers) if wanted and all(layers) else None)
        if streams[-1] is not None and quantise:
            quantise(streams[-1])
            for number, layer in enumerate(layers):
                nothing = layer.weight.new_full((), math.nan).expand(layer.weight.shape)
                layer.weight = nn.Parameter(nothing, requires_grad=False)
                layer.__class__ = _Part
                layer.whole = (streams[-1], number)  # in a tuple, so that it is no child
    attn.set_processor(FusedAttention(*streams, attend))


def _side_by_side(layers: Sequence[nn.Linear]) -> nn.Linear:
    """Return one layer whose weights those of the others become views of."""
    first = layers[0]
    fused = nn.Linear(first.in_features, 3 * first.out_features, device="meta")
    for name in ("weight", "bias"):
        joint = torch.cat([getattr(layer, name).data for layer in layers])
        setattr(fused, name, nn.Parameter(joint, requires_grad=False))
        for layer, part in zip(layers, joint.chunk(3), strict=True):
            getattr(layer, name).data = part
    return fused


class Quantised(nn.Linear):
    """Multiply by weights of fewer bits; the gradient passes through their full values."""

    def dense(self) -> Tensor:
        """Return the weights [out, in] in the precision that they were quantised from."""
        return self.weight.dequantize()

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out]."""
        if torch.is_grad_enabled():
            return _Frozen.apply(x, self)
        return self.multiply(x)

    def multiply(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out], without gradient."""
        return F.linear(x, self.weight, self.bias)


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
        return torch.ops.bitsandbytes.dequantize_4bit(
            self.weight, self.absmax, 64, "nf4", self.shape, self.dtype
        )

    def multiply(self, x: Tensor) -> Tensor:
        """Map [..., in] to [..., out], without gradient."""
        return F.linear(x, self.dense(), self.bias)


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
        return grad @ ctx.layer.dense(), None


Quantise = Callable[[nn.Linear], None]  # in place


def _quantiser(precision: str) -> Quantise | None:
    """Return what quantises a linear layer on its device; None for plain precisions.

    Raises:
        ValueError: the library that does it is missing.
    """
    if precision not in QUANTISED:
        return None
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
    config = (
        Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
        if precision == "fp8"
        else Int8WeightOnlyConfig(version=2, set_inductor_config=False)
    )

    def quantise(layer: nn.Linear) -> None:
        quantize_(layer, config)
        layer.__class__ = Quantised

    return quantise


def _pack(layer: nn.Linear) -> None:
    """Quantise a linear layer to 4 bits."""
    layer.__class__ = FourBit
    layer.pack()


def weight_of(layer: nn.Linear) -> Tensor:
    """Return the weights [out, in] of a linear layer, quantised or not."""
    return layer.dense() if isinstance(layer, Quantised) else layer.weight

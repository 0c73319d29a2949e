"""Own the LoRA layer: every batch row has its own scales and learners.

    y[b] = W x[b] + sum over LoRAs of scale[b] * alpha / rank * B (A x[b] + c)

c is zero but where a LoRA adds a bias: that is one more rank, of which A is zero, c is 1 and B is
the bias.

Where a LoRA does not learn from row b its A and B count as constants: the row still passes
gradient to x, and so to whatever came before. LoRAs act by segments of like rows or, stacked, all
of a layer on every row as one.
Shape letters: B rows, N tokens, D features, R the ranks of all LoRAs together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn

from pairedit.machine import product
from pairedit.machine.tabled import Tabled


@dataclass(frozen=True)
class Segment:
    """Hold neighbouring rows on which the same LoRAs act, learning or frozen alike."""

    rows: int
    names: tuple[str, ...]
    learns: tuple[bool, ...]  # by LoRA
    scales: tuple[Tensor, ...]  # by LoRA, float32 [rows, 1]


class Routing:
    """Share what acts on the current batch with every LoRA layer."""

    def __init__(self) -> None:
        self.segments: tuple[Segment, ...] = ()  # in row order
        # The same, where all LoRAs of a layer run as one on every row.
        self.names: tuple[str, ...] = ()
        self.scales = self.learns = torch.empty(0)  # float32 [B, names]


class RowwiseLinear(PeftLinear):
    """Replace peft's LoRA layer by one that treats every row on its own."""

    routing: Routing

    def take(self, name: str, down: Tensor, up: Tensor, bias: Tensor | None) -> None:
        """Give a LoRA the weights of a file; with a bias it was made for one rank more."""
        first, second = self.lora_A[name], self.lora_B[name]
        if bias is not None:
            down, up = F.pad(down, (0, 0, 0, 1)), torch.cat([up, bias[:, None]], dim=1)
            constant = F.pad(torch.zeros(len(down) - 1), (0, 1), value=1.0)
            first.bias = nn.Parameter(constant.to(first.weight.device), requires_grad=False)
        first.weight.data = down.to(first.weight.device)
        second.weight.data = up.to(second.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, ..., D] to the base layer's output plus the rows' LoRAs.

        A tabled layer is given the numbers of its inputs, int64 [B].
        """
        if isinstance(self.base_layer, Tabled):
            return self._add_to_table(x)
        if self.routing.names:
            return multiply_together([self], self.base_layer, x)
        return self._add_segments(x, self.base_layer(x))

    def _add_to_table(self, index: Tensor) -> Tensor:
        """Add all LoRAs, each learning from its rows, to what a table holds; [B, out]."""
        result = self.base_layer(index)
        x = self.base_layer.inputs.values[index]
        loras = _side_by_side([self], x)
        if loras is None:
            return result
        down, up, scales, learns, constant = loras
        live = F.linear(F.linear(x, down, constant) * scales * learns, up)
        down, up = down.detach(), up.detach()
        return result + live + F.linear(F.linear(x, down, constant) * scales * (1 - learns), up)

    def _add_segments(self, x: Tensor, result: Tensor) -> Tensor:
        """Add the LoRAs of each segment to what the base layer made of [B, ..., D]."""
        segments = self.routing.segments
        if not segments:
            return result
        sizes = [segment.rows for segment in segments]
        if len(x) != sum(sizes):
            raise ValueError(f"{len(x)} rows in the batch, LoRAs were set for {sum(sizes)}")
        parts = [
            self._add(segment, inputs, outputs)
            for segment, inputs, outputs in zip(
                segments, x.split(sizes), result.split(sizes), strict=True
            )
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _add(self, segment: Segment, x: Tensor, result: Tensor) -> Tensor:
        """Add the LoRAs of one segment, as one LoRA whose rank is the sum of theirs."""
        downs, ups, scales, firsts = [], [], [], []
        for name, learns, scale in zip(segment.names, segment.learns, segment.scales, strict=True):
            # A file may leave modules out.
            if name not in self.lora_A:
                continue
            down, up = self.lora_A[name].weight, self.lora_B[name].weight
            if not learns:
                down, up = down.detach(), up.detach()
            downs.append(down)
            ups.append(up)
            scales.append((scale * self.scaling[name]).expand(-1, len(down)))
            firsts.append(self.lora_A[name])
        if not downs:
            return result
        # Float32 weights, computed in the precision of the base.
        inner = F.linear(x, torch.cat(downs).to(x.dtype), _constant(firsts, x))
        weight = torch.cat(scales, dim=1).to(x.dtype)
        inner = inner * weight.view(len(x), *[1] * (x.ndim - 2), -1)
        return result + F.linear(inner, torch.cat(ups, dim=1).to(x.dtype)).to(result.dtype)


def multiply_together(layers: Sequence[nn.Linear], base: nn.Linear, x: Tensor) -> Tensor:
    """Map by several layers at once, all LoRAs on all rows as one; one that is off has scale 0.

    Args:
        layers: with stacked LoRAs or without.
        base: one layer that stands for their bases, side by side.
        x: the input of all of them, [B, ..., D].

    Returns:
        Their outputs, side by side.
    """
    loras = _side_by_side(layers, x)
    return base(x) if loras is None else product.multiply(base, x, *loras)


def multiply_apart(
    layers: Sequence[nn.Linear], base: nn.Linear, x: Tensor
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Map by `base`, and return what the LoRAs of layers add to that as its two factors.

    Args:
        layers: with stacked LoRAs or without.
        base: one layer that stands for their bases, side by side.
        x: the input of all of them, [B, N, D].

    Returns:
        [B, N, features]; [B, N, R] and [features, R], R the ranks of all LoRAs that are on: the
        product of the former with the latter transposed is to be added, see
        `product.multiply_apart`. The latter is block diagonal: how many columns each layer has
        comes last.
    """
    loras = _side_by_side(layers, x)
    if loras is None:
        features = sum(layer.out_features for layer in layers)
        return base(x), x[..., :0].detach(), x.new_zeros(features, 0), [0] * len(layers)
    ranks = [_rank(layer) for layer in layers]
    projected, inner = product.multiply_apart(base, x, *loras)
    return projected, inner, loras[1].detach(), ranks


def _rank(layer: nn.Linear) -> int:
    """Add up the ranks of a layer's LoRAs that are on."""
    if not isinstance(layer, RowwiseLinear):
        return 0
    on = [name for name in layer.routing.names if name in layer.lora_A]
    return sum(len(layer.lora_A[name].weight) for name in on)


def _side_by_side(
    layers: Sequence[nn.Linear], x: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None] | None:
    """Gather the LoRAs of layers; see `product.multiply` for what is returned, None for none."""
    routing = next((layer.routing for layer in layers if isinstance(layer, RowwiseLinear)), None)
    if routing and routing.segments:
        raise ValueError("projections side by side take LoRAs that are stacked")
    downs, ups, columns, firsts = [], [], [], []
    for layer in layers if routing else ():
        # A file may leave modules out.
        there = [i for i, name in enumerate(routing.names) if name in getattr(layer, "lora_A", ())]
        names = [routing.names[i] for i in there]
        downs += [layer.lora_A[name].weight for name in names]
        firsts += [layer.lora_A[name] for name in names]
        for i, name in zip(there, names, strict=True):
            columns.append((i, len(layer.lora_A[name].weight), layer.scaling[name]))
        parts = [layer.lora_B[name].weight for name in names]
        ups.append(torch.cat([x.new_zeros(layer.out_features, 0), *parts], dim=1))
    if not downs:
        return None

    def by_rank(table: Tensor) -> Tensor:
        return torch.cat([table[:, i, None].expand(-1, rank) for i, rank, _ in columns], dim=1)

    def shaped(table: Tensor) -> Tensor:
        return table.to(x.dtype).view(len(x), *[1] * (x.ndim - 2), -1)

    return (
        torch.cat(downs).to(x.dtype),
        torch.block_diag(*ups).to(x.dtype),
        shaped(_scaled(by_rank(routing.scales), columns)),
        shaped(by_rank(routing.learns)),
        _constant(firsts, x),
    )


def _scaled(scales: Tensor, columns: Sequence[tuple[int, int, float]]) -> Tensor:
    """Multiply the scales of all ranks, [B, R], by each LoRA's alpha / rank.

    That is one operation where all are alike, as they mostly are; on B it would be one for each.
    """
    factors = {factor for *_, factor in columns}
    if len(factors) == 1:
        (factor,) = factors
        return scales if factor == 1 else scales * factor
    parts = scales.split([rank for _, rank, _ in columns], dim=1)
    return torch.cat([part * c[-1] for part, c in zip(parts, columns, strict=True)], dim=1)


def _constant(firsts: Sequence[nn.Linear], x: Tensor) -> Tensor | None:
    """Return what is added to A x, [R]; None where no LoRA has a bias."""
    if all(first.bias is None for first in firsts):
        return None
    parts = [
        x.new_zeros(len(first.weight)) if first.bias is None else first.bias.to(x.dtype)
        for first in firsts
    ]
    return torch.cat(parts)

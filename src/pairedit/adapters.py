"""Own named LoRAs inside a transformer: every batch row has its own scales and learners.

    y[b] = W x[b] + sum over LoRAs of scale[b] * alpha / rank * B A x[b]

Where a LoRA does not learn from row b its A and B count as constants: the row still passes
gradient to x, and so to whatever came before. The only module that knows peft.
Shape letters: B rows, N tokens, D features.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.lora import Linear as PeftLinear
from torch import Tensor, nn

from pairedit.lora import LoraFile
from pairedit.stacked import multiply
from pairedit.targets import match_targets


@dataclass(frozen=True, kw_only=True)
class Row:
    """Say which LoRAs act on one batch row, how strongly, and which of them learn from it."""

    scales: Mapping[str, float] = field(default_factory=dict)
    learns: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Segment:
    """Hold neighbouring rows on which the same LoRAs act, learning or frozen alike."""

    rows: int
    names: tuple[str, ...]
    learns: tuple[bool, ...]  # by LoRA
    scales: tuple[Tensor, ...]  # by LoRA, float32 [rows, 1]


class _Routing:
    """Share what acts on the current batch with every LoRA layer."""

    def __init__(self) -> None:
        self.segments: tuple[_Segment, ...] = ()  # in row order
        # The same, where all LoRAs of a layer run as one on every row.
        self.names: tuple[str, ...] = ()
        self.scales = self.learns = torch.empty(0)  # float32 [B, names]


class _RowwiseLinear(PeftLinear):
    """Replace peft's LoRA layer by one that treats every row on its own."""

    routing: _Routing

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, ..., D] to the base layer's output plus the rows' LoRAs."""
        if self.routing.names:
            return multiply_together([self], self.base_layer, x)
        return self._add_segments(x, self.base_layer(x))

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

    def _add(self, segment: _Segment, x: Tensor, result: Tensor) -> Tensor:
        """Add the LoRAs of one segment, as one LoRA whose rank is the sum of theirs."""
        downs, ups, scales = [], [], []
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
        if not downs:
            return result
        # Float32 weights, computed in the precision of the base.
        inner = F.linear(x, torch.cat(downs).to(x.dtype))
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
    return base(x) if loras is None else multiply(base, x, *loras)


def low_rank(layers: Sequence[nn.Linear], x: Tensor) -> tuple[Tensor, Tensor, list[int]]:
    """Return what the LoRAs of layers add to their outputs side by side, as its two factors.

    Args:
        layers: with stacked LoRAs or without.
        x: their input [B, N, D].

    Returns:
        [B, N, R] and [features, R], R the ranks of all LoRAs that are on; the product of the first
        with the second transposed is to be added. The second is block diagonal: how many columns
        each layer has comes last.
    """
    loras = _side_by_side(layers, x)
    if loras is None:
        features = sum(layer.out_features for layer in layers)
        return x[..., :0], x.new_zeros(features, 0), [0] * len(layers)
    down, up, scales, _ = loras
    return F.linear(x, down) * scales, up, [_rank(layer) for layer in layers]


def _rank(layer: nn.Linear) -> int:
    """Add up the ranks of a layer's LoRAs that are on."""
    if not isinstance(layer, _RowwiseLinear):
        return 0
    on = [name for name in layer.routing.names if name in layer.lora_A]
    return sum(len(layer.lora_A[name].weight) for name in on)


def _side_by_side(
    layers: Sequence[nn.Linear], x: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Gather the LoRAs of layers; see `stacked.multiply` for what is returned, None for none."""
    routing = next((layer.routing for layer in layers if isinstance(layer, _RowwiseLinear)), None)
    if routing and routing.segments:
        raise ValueError("projections side by side take LoRAs that are stacked")
    downs, ups, columns = [], [], []
    for layer in layers if routing else ():
        # A file may leave modules out.
        there = [i for i, name in enumerate(routing.names) if name in getattr(layer, "lora_A", ())]
        names = [routing.names[i] for i in there]
        downs += [layer.lora_A[name].weight for name in names]
        columns += [(i, len(layer.lora_A[routing.names[i]].weight)) for i in there]
        parts = [layer.lora_B[name].weight * layer.scaling[name] for name in names]
        ups.append(torch.cat([x.new_zeros(layer.out_features, 0), *parts], dim=1))
    if not downs:
        return None

    def by_rank(table: Tensor) -> Tensor:
        wide = [table[:, i, None].expand(-1, rank) for i, rank in columns]
        return torch.cat(wide, dim=1).to(x.dtype).view(len(x), *[1] * (x.ndim - 2), -1)

    return (
        torch.cat(downs).to(x.dtype),
        torch.block_diag(*ups).to(x.dtype),
        by_rank(routing.scales),
        by_rank(routing.learns),
    )


class Adapters:
    """Attach named LoRAs to a transformer, switch them row by row, and take them off again."""

    def __init__(self, transformer: nn.Module, *, stacked: bool = False) -> None:
        """Wrap a diffusers transformer whose base weights are frozen here.

        Args:
            transformer: the base model.
            stacked: run all LoRAs of a layer as one on every row, which compiles well and makes
                more of small work; otherwise each row meets its own LoRAs only.

        Raises:
            ValueError: the transformer carries LoRAs already.
        """
        if getattr(transformer, "peft_config", None):
            raise ValueError(f"LoRAs are attached already: {', '.join(transformer.peft_config)}")
        self.transformer = transformer.requires_grad_(False)
        self._routing = _Routing()
        self._names: list[str] = []
        self._stacked = stacked
        # By rows and LoRAs; always the same tensors, whose addresses a CUDA graph remembers.
        self._tables: dict[tuple[int, tuple[str, ...]], tuple[Tensor, Tensor]] = {}

    def add(
        self,
        name: str,
        *,
        rank: int,
        alpha: float,
        targets: str | Sequence[str],
        generator: torch.Generator,
    ) -> int:
        """Attach a new LoRA that changes nothing yet.

        Args:
            name: its role, a Python identifier.
            rank: inner dimension, at least 1.
            alpha: the update is scaled by alpha / rank.
            targets: a name of `TARGETS`, or regular expressions over module names.
            generator: CPU generator the initial weights are drawn from.

        Returns:
            The number of modules it is attached to.

        Raises:
            ValueError: a pattern that matches no linear module.
        """
        modules = find_modules(self.transformer, targets)
        self._inject(name, dict.fromkeys(modules, rank), alpha=alpha)
        for _, layer in self._layers(name):
            down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
            # kaiming_uniform with a = 1, as published: sqrt(3) larger than peft's own.
            bound = math.sqrt(3 / down.shape[1])
            drawn = torch.rand(down.shape, generator=generator) * 2 * bound - bound
            down.data = drawn.to(down.device)
            up.data = torch.zeros_like(up, dtype=torch.float32)
        return len(modules)

    def load(self, name: str, lora: LoraFile) -> int:
        """Attach a LoRA that was read from a file; it counts with alpha = rank.

        Args:
            name: a Python identifier, free so far.
            lora: its weights; every module may have its own rank.

        Returns:
            The number of modules it is attached to.

        Raises:
            ValueError: names the file and each module or shape that this transformer lacks.
        """
        linears = dict(_linears(self.transformer))
        problems = []
        for module, (down, up) in lora.weights.items():
            if module not in linears:
                problems.append(f"{module} is no linear layer of this model")
                continue
            base = linears[module]
            if (up.shape[0], down.shape[1]) != (base.out_features, base.in_features):
                problems.append(
                    f"{module} maps {down.shape[1]} to {up.shape[0]} features, "
                    f"the model {base.in_features} to {base.out_features}"
                )
        if problems:
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise ValueError(
                f"{lora.path}: does not fit the base model: {'; '.join(problems[:3])}{more}"
            )
        self._inject(name, {module: len(down) for module, (down, _) in lora.weights.items()})
        for module, layer in self._layers(name):
            down, up = lora.weights[module]
            layer.lora_A[name].weight.data = down.to(layer.lora_A[name].weight.device)
            layer.lora_B[name].weight.data = up.to(layer.lora_B[name].weight.device)
        return len(lora.weights)

    def parameters(self, name: str) -> list[nn.Parameter]:
        """List the float32 weights of one LoRA, all of them trainable."""
        weights = []
        for _, layer in self._layers(name):
            # peft leaves only the adapter added last trainable.
            for part in (layer.lora_A[name], layer.lora_B[name]):
                weights.append(part.weight.requires_grad_(True))
        return weights

    def weights(self, name: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Copy one LoRA to the CPU as {module: (A, B)}, with alpha / rank folded into B.

        Returns:
            A float32 [rank, in], B float32 [out, rank], so that alpha = rank gives the same edit.
        """
        return {
            module: (
                layer.lora_A[name].weight.detach().cpu().clone(),
                layer.lora_B[name].weight.detach().cpu() * layer.scaling[name],
            )
            for module, layer in self._layers(name)
        }

    @contextmanager
    def rows(self, rows: Sequence[Row]) -> Iterator[None]:
        """Set the LoRAs of each batch row for the block; outside of it every LoRA is off.

        The backward pass belongs inside too: gradient checkpointing runs the forward again.

        Args:
            rows: one for each row of the batch that will run.

        Raises:
            ValueError: an unknown LoRA, a learner without scale, or a block inside a block.
        """
        if self._routing.segments or self._routing.names:
            raise ValueError("rows() inside rows(): the outer scales would be lost")
        for row in rows:
            unknown = (set(row.scales) | row.learns) - set(self._names)
            if unknown:
                raise ValueError(f"no LoRA {sorted(unknown)} attached; there is {self._names}")
            if row.learns - set(row.scales):
                raise ValueError(f"{sorted(row.learns - set(row.scales))} would learn unscaled")
        if self._stacked:
            self._stack(rows)
        else:
            self._routing.segments = self._segments(rows)
        try:
            yield
        finally:
            self._routing.segments = self._routing.names = ()

    def remove(self) -> None:
        """Take every LoRA off; the transformer is then as it came."""
        if self._names:
            self.transformer.unload_lora()
        self._names = []

    def acting(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """Name the LoRAs that are on; one at scale 0 throughout does no work."""
        return tuple(name for name in self._names if any(row.scales.get(name) for row in rows))

    def _stack(self, rows: Sequence[Row]) -> None:
        """Write the rows' scales, and which LoRAs learn, where stacked layers read them."""
        names = self.acting(rows)
        values = (
            torch.tensor([[row.scales.get(name, 0.0) for name in names] for row in rows]),
            torch.tensor([[float(name in row.learns) for name in names] for row in rows]),
        )
        key = (len(rows), names)
        if key not in self._tables:
            device = next(self.transformer.parameters()).device
            self._tables[key] = tuple(value.to(device) for value in values)
        for table, value in zip(self._tables[key], values, strict=True):
            table.copy_(value)
        self._routing.names = names
        self._routing.scales, self._routing.learns = self._tables[key]

    def _segments(self, rows: Sequence[Row]) -> tuple[_Segment, ...]:
        """Cut the batch where the LoRAs change, or whether they learn; none if all are off."""
        device = next(self.transformer.parameters()).device
        names = self.acting(rows)
        segments = []

        def uses(row: Row) -> tuple[tuple[str, bool], ...]:
            return tuple((name, name in row.learns) for name in names if name in row.scales)

        for used, group in groupby(rows, key=uses):
            alike = list(group)
            segments.append(
                _Segment(
                    rows=len(alike),
                    names=tuple(name for name, _ in used),
                    learns=tuple(learns for _, learns in used),
                    scales=tuple(
                        torch.tensor(
                            [[row.scales[name]] for row in alike],
                            dtype=torch.float32,
                            device=device,
                        )
                        for name, _ in used
                    ),
                )
            )
        return tuple(segments) if names else ()

    def _inject(self, name: str, ranks: Mapping[str, int], alpha: float | None = None) -> None:
        """Put empty LoRA layers of ours into the named modules; alpha = rank where not given."""
        common = max(ranks.values())
        config = LoraConfig(
            r=common,
            lora_alpha=common if alpha is None else alpha,
            target_modules=_only(ranks),
            rank_pattern={_exactly(m): r for m, r in ranks.items() if r != common},
            alpha_pattern={_exactly(m): r for m, r in ranks.items() if r != common},
            init_lora_weights=False,
        )
        config._register_custom_module({nn.Linear: _RowwiseLinear})
        with warnings.catch_warnings():
            # Several LoRAs at once are the point here.
            warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")
            self.transformer.add_adapter(config, adapter_name=name)
        self._names.append(name)
        for _, layer in self._layers(name):
            layer.routing = self._routing
            # diffusers' base may be bf16; peft gives new weights the base's type.
            for part in (layer.lora_A[name], layer.lora_B[name]):
                part.weight.data = part.weight.data.float()

    def _layers(self, name: str) -> Iterator[tuple[str, _RowwiseLinear]]:
        """Walk over the layers that carry one LoRA."""
        for module, layer in self.transformer.named_modules():
            if isinstance(layer, _RowwiseLinear) and name in layer.lora_A:
                yield module, layer


def find_modules(transformer: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """List the linear modules of a diffusers transformer that a LoRA is to be attached to.

    Raises:
        ValueError: see `match_targets`.
    """
    return match_targets([name for name, _ in _linears(transformer)], targets)


def _linears(transformer: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Walk over the linear layers of the base, under the names they have without LoRAs."""
    for name, module in transformer.named_modules():
        if "lora_" in name:
            continue
        if isinstance(module, nn.Linear):
            yield name.removesuffix(".base_layer"), module


def _exactly(module: str) -> str:
    """Write the pattern that matches one module only."""
    return "^" + re.escape(module)


def _only(modules: Iterable[str]) -> str:
    """Write the pattern by which peft matches these modules and no other."""
    return "|".join(re.escape(module) for module in modules)

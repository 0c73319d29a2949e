"""Own named LoRAs inside a transformer: attach them, switch them row by row, take them off again.

What each row then computes is in `rowwise`.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Protocol

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from pairedit.lora.file import LoraFile
from pairedit.lora.fitting import check_fit, whole_weights
from pairedit.lora.names import Names
from pairedit.lora.rows import Row
from pairedit.lora.rowwise import Routing, RowwiseLinear, Segment
from pairedit.lora.targets import match_targets
from pairedit.machine.hardware import Hardware


class Carrier(Protocol):
    """Carry LoRAs: a `bases.base.Base`."""

    transformer: nn.Module
    names: Names  # of its modules, by which new LoRAs are placed
    hardware: Hardware


class Adapters:
    """Attach named LoRAs to a transformer, switch them row by row, and take them off again."""

    def __init__(self, base: Carrier) -> None:
        """Wrap the transformer of a base, whose weights are frozen here.

        On fused hardware all LoRAs of a layer run as one on every row, which compiles well and
        makes more of small work; otherwise each row meets its own LoRAs only.

        Raises:
            ValueError: the transformer carries LoRAs already.
        """
        transformer, stacked = base.transformer, base.hardware.fused
        if getattr(transformer, "peft_config", None):
            raise ValueError(f"LoRAs are attached already: {', '.join(transformer.peft_config)}")
        self.transformer = transformer.requires_grad_(False)
        self.module_names = base.names
        self._routing = Routing()
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
            targets: a named set of modules, or regular expressions over module names.
            generator: CPU generator the initial weights are drawn from.

        Returns:
            The number of modules it is attached to.

        Raises:
            ValueError: a pattern that matches no linear module.
        """
        modules = find_modules(self.transformer, targets, self.module_names)
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
        check_fit(lora, linears)
        weights = whole_weights(lora, linears)
        self._inject(name, {m: len(down) + (m in lora.biases) for m, (down, _) in weights.items()})
        for module, layer in self._layers(name):
            layer.take(name, *weights[module], lora.biases.get(module))
        return len(weights)

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
        carrying = [
            (name, layer)
            for name, layer in self.transformer.named_modules()
            if isinstance(layer, RowwiseLinear)
        ]
        for name, layer in carrying:
            self.transformer.set_submodule(name, layer.get_base_layer())
        if self._names:
            del self.transformer.peft_config
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
            table.copy_(value, non_blocking=True)  # its values are taken before this returns
        self._routing.names = names
        self._routing.scales, self._routing.learns = self._tables[key]

    def _segments(self, rows: Sequence[Row]) -> tuple[Segment, ...]:
        """Cut the batch where the LoRAs change, or whether they learn; none if all are off."""
        device = next(self.transformer.parameters()).device
        names = self.acting(rows)
        segments = []

        def uses(row: Row) -> tuple[tuple[str, bool], ...]:
            return tuple((name, name in row.learns) for name in names if name in row.scales)

        for used, group in groupby(rows, key=uses):
            alike = list(group)
            segments.append(
                Segment(
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
        config._register_custom_module({nn.Linear: RowwiseLinear})
        with warnings.catch_warnings():
            # Several LoRAs at once are the point here.
            warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")
            inject_adapter_in_model(config, self.transformer, name)
        self._names.append(name)
        for _, layer in self._layers(name):
            layer.routing = self._routing
            # diffusers' base may be bf16; peft gives new weights the base's type.
            for part in (layer.lora_A[name], layer.lora_B[name]):
                part.weight.data = part.weight.data.float()

    def _layers(self, name: str) -> Iterator[tuple[str, RowwiseLinear]]:
        """Walk over the layers that carry one LoRA."""
        for module, layer in self.transformer.named_modules():
            if isinstance(layer, RowwiseLinear) and name in layer.lora_A:
                yield module, layer


def find_modules(transformer: nn.Module, targets: str | Sequence[str], names: Names) -> list[str]:
    """List the linear modules of a diffusers transformer that a LoRA is to be attached to.

    Raises:
        ValueError: see `match_targets`.
    """
    return match_targets([name for name, _ in _linears(transformer)], targets, names)


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

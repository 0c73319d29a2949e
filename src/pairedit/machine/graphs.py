"""Own CUDA graphs: a pass that is launched as one, since launching its kernels takes the CPU long.

A graph repeats what it was captured with: shapes, weights' addresses, LoRAs that are on. Whoever
captures it says so by a key, and makes new `Graphs` for new LoRAs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

WARM_UP = 2  # runs before capture: compiling, choosing kernels, filling caches


class Graphs:
    """Capture functions of tensors when they are first called, and replay them afterwards."""

    def __init__(self, enabled: bool) -> None:
        """Start with no graph; where not `enabled`, functions are simply called."""
        self.enabled = enabled
        self._known: dict[Hashable, _Captured] = {}

    def __call__(
        self,
        key: Hashable,
        function: Callable[..., Tensor],
        *inputs: Tensor,
        before: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """Call a function whose work lies on the GPU alone.

        Args:
            key: all that the function depends on besides the inputs' values.
            function: of the inputs, without side effects but on tensors that stay.
            inputs: tensors on the GPU.
            before: runs before the function does in earnest, not as part of a graph.

        Returns:
            The function's output; the next call with this key writes over it.
        """
        if not self.enabled:
            return function(*inputs)
        key = (key, *(tuple(tensor.shape) for tensor in inputs))
        if key not in self._known:
            self._known[key] = _Captured(function, inputs, before)
        return self._known[key](*inputs)


class _Captured:
    """Hold one graph with its inputs and output."""

    def __init__(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Tensor, ...],
        before: Callable[[], object],
    ) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                before()
                function(*self._inputs)
            before()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.empty_cache()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            self._output = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for kept, given in zip(self._inputs, inputs, strict=True):
            kept.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._output

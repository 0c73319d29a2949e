"""Own how parts of a model that are needed only now and then come to the accelerator, and leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairedit.machine.devices import bring


@contextmanager
def lend(
    parts: Sequence[nn.Module],
    device: torch.device,
    *,
    dtype: torch.dtype | None = None,
    clear: bool = False,
) -> Iterator[torch.device]:
    """Lend the accelerator to parts for the block; give where they are.

    Args:
        parts: on the CPU.
        device: the accelerator; where it is full they stay, which is slower but works.
        dtype: that they run in there; None for their own.
        clear: give the memory back afterwards, which much is to come into.
    """
    # Copied there and forgotten, rather than moved back: what is on the CPU stays valid.
    kept = [(weight, weight.data) for part in parts for weight in _tensors(part)]
    try:
        for weight, values in kept:
            weight.data = bring(values, device).to(dtype or values.dtype)
    except torch.OutOfMemoryError:
        # Beside a transformer that is there already.
        device = torch.device("cpu")
        for weight, values in kept:
            weight.data = values
    try:
        yield device
    finally:
        for weight, values in kept:
            weight.data = values
        if device.type == "cuda" and clear:
            torch.cuda.empty_cache()  # gigabytes in pieces that the transformer would not fit


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Walk over the parameters and buffers of a module."""
    yield from module.parameters()
    yield from module.buffers()

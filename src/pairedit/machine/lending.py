"""Own how parts of a model that are seldom needed come to the accelerator, and leave it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pairedit.machine.devices import bring
from pairedit.machine.swapping import Swap

log = logging.getLogger(__name__)


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
        device: the accelerator; where it is too full for them their layers come one after the
            other, and where that does not fit either they stay, which is slower but works.
        dtype: that they run in there; None for their own.
        clear: give the memory back afterwards, which much is to come into.
    """
    # Copied there and forgotten, rather than moved back: what is on the CPU stays valid.
    kept = [(weight, weight.data) for part in parts for weight in _tensors(part)]
    swap = Swap(device)

    def whole() -> None:
        for weight, values in kept:
            weight.data = bring(values, device).to(dtype or values.dtype)

    def layer_by_layer() -> None:
        layers = [layer for part in parts for layer in _layers(part)]
        apart = {id(weight) for layer in layers for weight in _tensors(layer)}
        for layer in layers:
            swap.take(layer, packed=False)
        swap.begin()
        for weight, values in kept:
            if id(weight) not in apart:
                weight.data = bring(values, device)

    try:
        for way in (whole, layer_by_layer) if dtype is None else (whole,):
            try:
                way()
                break
            except torch.OutOfMemoryError:
                # Beside a transformer that is there already, or on a small GPU.
                swap.release()
                for weight, values in kept:
                    weight.data = values
                torch.cuda.empty_cache()
        else:
            names = ", ".join(type(part).__name__ for part in parts)
            log.warning("the GPU has no room for %s, so the CPU does this part of the work", names)
            device = torch.device("cpu")
        yield device
    finally:
        swap.release()
        for weight, values in kept:
            weight.data = values
        if device.type == "cuda" and clear:
            torch.cuda.empty_cache()  # gigabytes in pieces that the transformer would not fit


def _layers(part: nn.Module) -> Sequence[nn.Module]:
    """Return the layers that hold most of a part, if there are such; none of a VAE."""
    lists = [each for each in part.modules() if isinstance(each, nn.ModuleList)]
    largest = max(lists, key=_bytes, default=None)
    return largest if largest is not None and 2 * _bytes(largest) > _bytes(part) else ()


def _bytes(module: nn.Module) -> int:
    return sum(weight.nbytes for weight in module.parameters())


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Walk over the parameters and buffers of a module."""
    yield from module.parameters()
    yield from module.buffers()

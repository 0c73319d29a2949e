"""Own blocks whose weights lie in the machine's memory and come to the accelerator for their turn.

    turn of block k   wait for the copy of k; while k runs, copy what comes next

The next block is the one that came next the last time, so any order works: forwards, backwards,
repeated. Its copy waits until all that was launched before this turn is over. So a block must not
be used after its turn: in a backward pass it runs again (`blocks.run_again`). A weight that is away
is NaN, so that nothing is computed with it unnoticed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

ALIGNED = 256  # bytes; kernels read 16 at once, torch's own allocator gives 512
PLACES = 2  # blocks on the accelerator: the one that runs and the one that comes


class Swap:
    """Give the blocks of one model their weights in turn."""

    def __init__(self, device: torch.device) -> None:
        """Start without blocks."""
        self._device = device
        self._homes: dict[nn.Module, _Home] = {}
        self._places: list[_Place] = []  # least recently used first
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._last: tuple[nn.Module | None, nn.Module | None] = (None, None)
        self._next: dict[tuple[nn.Module | None, nn.Module | None], nn.Module] = {}

    def take(self, block: nn.Module, *beside: nn.Module, packed: bool = True) -> None:
        """Let a block have its weights for its turn only.

        Args:
            block: whose call is its turn; before the first one.
            beside: modules that belong to it and are not among its children.
            packed: copy its weights to one piece of memory, pinned for a GPU; otherwise they are
                copied from where they are, on the CPU.
        """
        pin = self._device.type == "cuda"
        tensors = [each for part in (block, *beside) for each in _tensors(part)]
        self._homes[block] = _Home(tensors, self._device, packed=packed, pin=pin)
        block.__class__ = turning(type(block))
        block.swap = self

    def release(self) -> None:
        """Let all blocks be what they were, with weights where they were taken from."""
        for block, home in self._homes.items():
            home.restore()
            block.__class__ = type(block).__mro__[1]
            del block.swap
        self._homes, self._places = {}, []

    def begin(self) -> None:
        """Take the memory on the accelerator; otherwise the first turn does."""
        if self._homes and not self._places:
            size = max(home.size for home in self._homes.values())
            self._places = [_Place(size, self._device) for _ in range(PLACES)]

    def turn(self, block: nn.Module) -> None:
        """Let the weights of a block be there, and the next ones come."""
        self._next[self._last] = block
        self._last = (self._last[1], block)
        place = self._place_of(block) or self._fetch(block)
        self._places.sort(key=lambda each: each is place)
        if self._stream:
            torch.cuda.current_stream(self._device).wait_event(place.there)
        self._homes[block].enter(place.values)
        ahead = self._next.get(self._last)
        if ahead is not None and self._place_of(ahead) is None:
            self._fetch(ahead)

    def _place_of(self, block: nn.Module) -> _Place | None:
        return next((place for place in self._places if place.block is block), None)

    def _fetch(self, block: nn.Module) -> _Place:
        """Begin to copy a block over the one whose turn is longest ago."""
        self.begin()
        place = self._places[0]
        if place.block is not None:
            self._homes[place.block].leave()
        place.block = block
        if self._stream is None:
            self._homes[block].copy_to(place.values)
            return place
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._homes[block].copy_to(place.values)
            place.there.record()
        return place


@dataclass(eq=False)
class _Place:
    """Hold the weights of one block on the accelerator."""

    size: int
    device: torch.device
    block: nn.Module | None = None
    values: Tensor = field(init=False)  # uint8 [size]

    def __post_init__(self) -> None:
        self.values = torch.empty(self.size, dtype=torch.uint8, device=self.device)
        self.there = torch.cuda.Event() if self.values.is_cuda else None


class _Home:
    """Hold the weights of one block on the CPU."""

    def __init__(
        self, tensors: Iterable[Tensor], device: torch.device, *, packed: bool, pin: bool
    ) -> None:
        """Take the values of tensors; what stands in for a weight takes no memory, and stays."""
        self._kept = [(tensor, tensor.data) for tensor in tensors if _dense(tensor)]
        self._away = [_nothing(values, device) for _, values in self._kept]
        self._starts, pieces, self.size = _laid_out([values for _, values in self._kept])
        self._there = True
        if packed:
            whole = torch.empty(self.size, dtype=torch.uint8, pin_memory=pin)
            for start, piece in pieces.items():
                whole[start : start + len(piece)].copy_(piece)
            self._kept = [
                (tensor, _view(whole, start, values))
                for (tensor, values), start in zip(self._kept, self._starts, strict=True)
            ]
            pieces = {0: whole}
        self._pieces = pieces
        self.leave()

    def copy_to(self, place: Tensor) -> None:
        """Begin to copy all values to uint8 [size or more] on the accelerator."""
        for start, piece in self._pieces.items():
            place[start : start + len(piece)].copy_(piece, non_blocking=True)

    def enter(self, place: Tensor) -> None:
        """Let the tensors be those that were copied to a place."""
        if not self._there:
            for (tensor, values), start in zip(self._kept, self._starts, strict=True):
                tensor.data = _view(place, start, values)
            self._there = True

    def leave(self) -> None:
        """Let the tensors be of no use."""
        if self._there:
            for (tensor, _), away in zip(self._kept, self._away, strict=True):
                tensor.data = away
            self._there = False

    def restore(self) -> None:
        """Let the tensors have their values on the CPU."""
        for tensor, values in self._kept:
            tensor.data = values


@functools.cache
def turning(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a kind of block that has its turn before it is called; compiled code has no part."""

    def call(self: nn.Module, *inputs: Any, **more: Any) -> Any:
        if is_swapped(self):
            self.swap.turn(self)
        return kind.__call__(self, *inputs, **more)

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})


def is_swapped(block: nn.Module) -> bool:
    """Say whether a block has its weights for its turn only."""
    return "swap" in block.__dict__


def fetch(model: nn.Module, name: str) -> None:
    """Let the weights of a module be there for whoever reads them outside of a pass."""
    parts = name.split(".")
    for count in range(len(parts)):
        block = model.get_submodule(".".join(parts[:count]))
        if is_swapped(block):
            block.swap.turn(block)


def swapping(
    blocks: Sequence[nn.Module], share: float, device: torch.device
) -> Callable[..., None]:
    """Return what takes each block once it is as it will be, with modules that belong to it.

    Args:
        blocks: of a transformer, in the order they run in.
        share: of them have their weights for their turn only. They lie evenly between the others:
            while a block that stays runs, one that does not has the more time to come.
        device: that they run on.
    """
    swap = Swap(device)
    ends = [round(number * share) for number in range(len(blocks) + 1)]
    swapped = {block for block, (a, b) in zip(blocks, pairwise(ends), strict=True) if b > a}

    def settle(block: nn.Module, *beside: nn.Module) -> None:
        if block in swapped:
            swap.take(block, *beside)
        elif swapped:
            # Those of one class share what is compiled.
            block.__class__ = turning(type(block))

    return settle


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _dense(tensor: Tensor) -> bool:
    """Say whether a tensor has memory for all its numbers."""
    return tensor.numel() > 0 and 0 not in tensor.stride()[: tensor.ndim]


def _span(tensor: Tensor) -> int:
    """Return the bytes from the first to the last number of a tensor."""
    steps = (
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    return (1 + sum(steps)) * tensor.element_size()


def _laid_out(tensors: list[Tensor]) -> tuple[list[int], Mapping[int, Tensor], int]:
    """Lay tensors one behind the other; those that are parts of another stay parts of it.

    Returns:
        Where each begins, in bytes; uint8 [bytes] of those that are no parts, by where they begin;
        and the bytes of all.
    """
    found: dict[int, Tensor] = {}
    ranges: list[tuple[int, int, int]] = []  # first address, the one behind, where it begins
    starts, size = [0] * len(tensors), 0
    for number in sorted(range(len(tensors)), key=lambda number: -_span(tensors[number])):
        tensor = tensors[number]
        first, last = tensor.data_ptr(), tensor.data_ptr() + _span(tensor)
        inside = next(
            (start + first - a for a, b, start in ranges if a <= first and last <= b), None
        )
        if inside is None:
            inside, size = size, size + math.ceil((last - first) / ALIGNED) * ALIGNED
            ranges.append((first, last, inside))
            count = (last - first) // tensor.element_size()
            found[inside] = tensor.as_strided((count,), (1,)).view(torch.uint8)
        starts[number] = inside
    return starts, found, size


def _view(place: Tensor, start: int, like: Tensor) -> Tensor:
    """Read a tensor of the shape, strides and type of another from uint8 [bytes]."""
    flat = place[start : start + _span(like)].view(like.dtype)
    return flat.as_strided(like.shape, like.stride())


def _nothing(like: Tensor, device: torch.device) -> Tensor:
    """Return NaN as large as a tensor that takes no memory; 0 for integers, whose scale is NaN."""
    value = torch.full((), math.nan if like.is_floating_point() else 0, device=device)
    return value.to(like.dtype).expand(like.shape)

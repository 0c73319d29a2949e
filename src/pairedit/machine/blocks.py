"""Own what holds for the blocks of any transformer: where they lie, compiled, run again.

Blocks of a kind share what is compiled, and each is brought to the device and quantised alone, so
that a model which only fits in fewer bits need never be there whole.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pairedit.machine.devices import bring
from pairedit.machine.quantised import Quantise
from pairedit.machine.swapping import is_swapped


def bring_block(block: nn.Module, device: torch.device) -> None:
    """Bring the weights of one block to the device."""
    for weight in (*block.parameters(), *block.buffers()):
        weight.data = bring(weight.data, device)


def quantise_linears(block: nn.Module, quantise: Quantise | None) -> None:
    """Quantise the linear layers of one block, where that is asked for."""
    for layer in block.modules() if quantise else ():
        if type(layer) is nn.Linear:
            quantise(layer)


def compile_blocks(blocks: Iterable[nn.Module], *, dynamic: bool) -> None:
    """Let blocks be compiled when they first run; those of a kind share what is compiled.

    Args:
        blocks: of a transformer.
        dynamic: once for all sizes of image, not once for each.
    """
    # Warns of operations in place in what is checkpointed; there are none.
    logging.getLogger("torch._higher_order_ops.wrap").setLevel(logging.ERROR)
    gc.freeze()  # what is there by now need not be looked through while compiling
    torch._dynamo.config.recompile_limit = 64  # LoRAs, batch and image sizes of one process
    for block in blocks:
        block.compile(fullgraph=True, dynamic=dynamic)


def start_compiler() -> None:
    """Start the processes that will compile, so that they are there when weights have loaded."""
    from torch._inductor.async_compile import AsyncCompile

    AsyncCompile.warm_pool()


def again_of(blocks: Sequence[nn.Module], share: float) -> set[nn.Module]:
    """Return the blocks that run again in the backward pass: the first ones, and swapped ones."""
    return {*blocks[: round(share * len(blocks))], *filter(is_swapped, blocks)}


@contextmanager
def run_again(transformer: nn.Module, blocks: Sequence[nn.Module], share: float) -> Iterator[None]:
    """Let a share of the blocks run again in the backward pass, inside; see `again_of`."""
    again = again_of(blocks, share)

    def run(block: nn.Module, *inputs: Any) -> Any:
        if block in again:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    if again:
        transformer.enable_gradient_checkpointing(run)
    try:
        yield
    finally:
        transformer.disable_gradient_checkpointing()

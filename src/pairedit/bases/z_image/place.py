"""Own how Z-Image's transformer lies on the accelerator: quantised, compiled, run again.

Its blocks stay as diffusers has them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairedit.bases.z_image.names import NAMES
from pairedit.machine.devices import bring
from pairedit.machine.hardware import Hardware
from pairedit.machine.quantised import quantiser


def blocks_of(transformer: nn.Module) -> Iterator[nn.Module]:
    """Walk over the blocks, in the order they run in."""
    for kind in NAMES.kinds:
        yield from getattr(transformer, kind.name)


def place(transformer: nn.Module, hardware: Hardware, device: torch.device) -> None:
    """Move a transformer to the device, block by block, as the hardware asks.

    Raises:
        ValueError: a library is missing.
    """
    quantise = quantiser(hardware.precision)
    for block in blocks_of(transformer):
        for weight in (*block.parameters(), *block.buffers()):
            weight.data = bring(weight.data, device)
        if quantise:
            for layer in block.modules():
                if type(layer) is nn.Linear:
                    quantise(layer)
    transformer.to(device)
    if hardware.compile:
        # Warns of operations in place in what is checkpointed; there are none.
        logging.getLogger("torch._higher_order_ops.wrap").setLevel(logging.ERROR)
        torch._dynamo.config.recompile_limit = 64  # LoRAs, batch sizes and lengths of prompts
        for block in blocks_of(transformer):  # those of a kind share what is compiled
            block.compile(dynamic=False)


@contextmanager
def training_blocks(transformer: nn.Module, hardware: Hardware) -> Iterator[None]:
    """Let the blocks run for training, inside the block.

    Args:
        transformer: placed.
        hardware: says how many of the blocks, the first ones, run again in the backward pass.
    """
    blocks = list(blocks_of(transformer))
    again = {id(block) for block in blocks[: round(hardware.gradient_checkpointing * len(blocks))]}

    def run(block: nn.Module, *inputs: Any) -> Tensor:
        if id(block) in again:
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)

    if again:
        transformer.enable_gradient_checkpointing(run)
    try:
        yield
    finally:
        transformer.disable_gradient_checkpointing()

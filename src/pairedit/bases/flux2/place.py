"""Own how FLUX.2's transformer lies on the accelerator: quantised, compiled, run again.

The modulations are three matrices for the whole transformer, so they stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from pairedit.machine.blocks import bring_block, compile_blocks, quantise_linears
from pairedit.machine.hardware import Hardware
from pairedit.machine.quantised import quantiser

BLOCKS = ("transformer_blocks", "single_transformer_blocks")


def blocks_of(transformer: nn.Module) -> Iterator[nn.Module]:
    """Walk over all blocks, in the order in which they run."""
    for kind in BLOCKS:
        yield from getattr(transformer, kind)


def place(transformer: nn.Module, hardware: Hardware, device: torch.device) -> None:
    """Move a diffusers FLUX.2 transformer to the device, block by block, as the hardware asks.

    Raises:
        ValueError: a library is missing.
    """
    quantise = quantiser(hardware.precision)
    for block in blocks_of(transformer):
        bring_block(block, device)
        quantise_linears(block, quantise)
    transformer.to(device)
    if hardware.compile:
        compile_blocks(blocks_of(transformer))

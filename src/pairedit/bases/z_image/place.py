"""Own how Z-Image's transformer lies on the accelerator: quantised, compiled.

Its blocks stay as diffusers has them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from pairedit.bases.z_image.names import NAMES
from pairedit.machine.blocks import bring_block, compile_blocks, quantise_linears
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
        bring_block(block, device)
        quantise_linears(block, quantise)
    transformer.to(device)
    if hardware.compile:
        compile_blocks(blocks_of(transformer))

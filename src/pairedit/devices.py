"""Own the choice of the device, through accelerate, and what to do when it is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from pairedit.hardware import PROFILES, Hardware


def make_accelerator(device: str) -> Accelerator:
    """Make accelerate's accelerator for one process.

    Args:
        device: auto takes the best device there is; cpu, cuda or mps ask for one.

    Raises:
        ValueError: the machine lacks that device, or several processes were started.
    """
    # Jobs of one sweep may ask for different devices; accelerate would keep the first one.
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    if accelerator.num_processes > 1:
        raise ValueError(f"{accelerator.num_processes} processes were started, expected one")
    if device not in ("auto", accelerator.device.type):
        raise ValueError(f"device={device}: not on this machine, which has {accelerator.device}")
    return accelerator


@contextmanager
def memory_advice(advice: str, hardware: Hardware) -> Iterator[None]:
    """Say what to try where the memory of a GPU, or of the machine, does not suffice.

    Args:
        advice: what needs less memory, such as `batch_terms=false`.
        hardware: the profile asked for; on a GPU the next smaller ones are named.

    Raises:
        MemoryError: in place of torch's pages about its allocator.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        names = list(PROFILES)
        # Whatever auto took, it was not the last.
        smaller = names[names.index(hardware.name) + 1 if hardware.name in names else 1 :]
        profiles = "".join(f"hardware={name}, " for name in smaller)
        raise MemoryError(f"the GPU's memory does not suffice: try {profiles}{advice}") from error
    except (MemoryError, RuntimeError) as error:
        # What torch's CPU allocator says; it has no class of its own.
        if isinstance(error, RuntimeError) and "DefaultCPUAllocator" not in str(error):
            raise
        raise MemoryError(f"the memory does not suffice: try {advice}") from error

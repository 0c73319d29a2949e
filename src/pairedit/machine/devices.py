"""Own the choice of the device, through accelerate, and what to say when it is full."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import psutil
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from pairedit.machine.hardware import PROFILES, Hardware

log = logging.getLogger(__name__)

LOOK = 0.3  # seconds in which it is seen what others do on the CPUs
ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # what a user may have chosen


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


def settle_gpu() -> None:
    """Set what torch needs on a GPU, for all of the process."""
    # torch 2.11 with CUDA 13: its attention backward crashes on FLUX's shapes.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if not any(name in os.environ for name in ALLOCATOR):
        # Otherwise gigabytes lie idle in pieces that nothing fits into.
        # Older torch has the second one only, newer torch warns of it.
        change = getattr(torch._C, "_accelerator_setAllocatorSettings", None)
        change = change or torch.cuda.memory._set_allocator_settings
        change("expandable_segments:True")


@functools.cache  # jobs of one process keep to one number, and look once
def settle_threads() -> None:
    """Leave those CPUs to others that others use now, unless the user chose the threads.

    Threads of a small model wait for each other all the time. If one of them shares its CPU, a
    step takes four times as long; on one thread less it does not (benchmarks/busy.py).
    """
    threads = torch.get_num_threads()
    if "OMP_NUM_THREADS" in os.environ or threads == 1 or not hasattr(os, "sched_getaffinity"):
        return
    ours = os.sched_getaffinity(0)
    shares = psutil.cpu_percent(LOOK, percpu=True)
    busy = sum(share for cpu, share in enumerate(shares) if cpu in ours) / 100
    free = max(1, round(len(ours) - busy))
    if free < threads:
        torch.set_num_threads(free)
        log.info(
            "others use %.1f of %d CPUs: this runs on %d of them (OMP_NUM_THREADS chooses)",
            busy,
            len(ours),
            free,
        )


@functools.cache
def runs_triton(device: torch.device) -> bool:
    """Say whether our Triton kernels run there: not on Windows, nor on GPUs older than bf16."""
    return (
        device.type == "cuda"
        and find_spec("triton") is not None
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def bring(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the CPU to the device.

    To a GPU by way of pinned memory: several times faster, and without waiting for what runs there.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def picked(values: Tensor, rows: Sequence[int]) -> Tensor:
    """Return some rows of a tensor, also again; to index by numbers would wait for a GPU."""
    return torch.stack([values[row] for row in rows])


class Readout:
    """Bring numbers to the CPU without waiting for them."""

    def __init__(self, numbers: Tensor) -> None:
        """Begin the copy."""
        self._numbers = numbers.to("cpu", non_blocking=True)
        self._there = torch.cuda.Event() if numbers.is_cuda else None
        if self._there:
            self._there.record()

    def tensor(self) -> Tensor:
        """Wait for them."""
        if self._there:
            self._there.synchronize()
        return self._numbers

    def values(self) -> list[float]:
        """Wait for them; return them as Python's own."""
        return self.tensor().tolist()


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

"""Own which GPU a process of this machine may use: one for each process, by a lock until it ends.

The locks are those of the machine, so that two sweeps at once do not share a GPU either.
"""

from __future__ import annotations

import ctypes
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
PAUSE = 0.5  # s between two looks at the locks

_kept: list[IO[Any]] = []  # open files hold the locks


def known() -> list[str]:
    """List the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = _count()
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def _count() -> int:
    """Count the GPUs; torch takes seconds to import, so it is asked only without the driver."""
    count = ctypes.c_int()
    with suppress(OSError, AttributeError):
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    import torch

    return torch.cuda.device_count()


def claim(gpus: Sequence[str]) -> str | None:
    """Keep one of several GPUs to this process, waiting until one is free.

    Args:
        gpus: as `known` lists them; none on a machine without.

    Returns:
        The GPU, or None where there is none to keep.
    """
    if not gpus or _kept:
        return os.environ.get(VISIBLE) if _kept else None
    said = False
    while True:
        for gpu in gpus:
            if _lock(gpu):
                os.environ[VISIBLE] = gpu
                return gpu
        if not said:
            log.warning("waits for a GPU: other sweeps use %s", ", ".join(gpus))
            said = True
        time.sleep(PAUSE)


def _lock(gpu: str) -> bool:
    """Lock one GPU's file; say whether that worked."""
    user = getattr(os, "getuid", lambda: 0)()
    name = f"pairedit-{user}-gpu-{gpu.replace('/', '-')}.lock"
    file = Path(tempfile.gettempdir(), name).open("a", encoding="utf-8")  # noqa: SIM115
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _kept.append(file)
    return True

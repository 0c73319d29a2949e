"""Own the garbage collector's rest while what is large is imported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep the garbage collector from what is imported inside, for good.

    Hardly any of it is garbage, and it is much: walking over it took a quarter of the time that
    importing torch and diffusers takes, and at exit more than a second.
    """
    if "torch" in sys.modules:  # a later job of a sweep: what is there now may be garbage
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()

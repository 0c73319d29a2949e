"""Own when the garbage collector is off: while large libraries are imported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Keep what is imported inside out of garbage collection, for good.

    Hardly any of it is garbage. To walk over it took a quarter of the time of importing torch and
    diffusers, and more than a second at exit.
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

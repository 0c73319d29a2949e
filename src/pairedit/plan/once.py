"""Own the one place where Hydra is changed: it would compose every configuration twice.

The first time is for `hydra.mode` alone, which says whether a command is a sweep, and takes a fifth
of a second. Where no word of the command line may set it, the answer is known. Hydra 1.3 has no
option for that, and makes its own `Hydra` inside of `hydra.main`; so that one's question is
answered here, for as long as a command runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra._internal.hydra import Hydra

TRIED = ("1.3.2", "1.3.8")  # of hydra-core; a test asks for the one that is installed
# What may say that a command is a sweep, besides `-m`.
SAYS_MODE = re.compile(r"[+~]*(sweep|hydra|hydra\.mode)=|-c|--config")


@contextmanager
def composed_once(words: Sequence[str]) -> Iterator[None]:
    """Keep Hydra from composing for `hydra.mode` inside.

    Args:
        words: the command line; where it may set the mode, nothing changes.
    """
    if any(SAYS_MODE.match(word) for word in words):
        yield
        return
    before = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = before  # type: ignore[method-assign]

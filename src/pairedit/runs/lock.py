"""Own that one process at a time works in a folder: it holds a lock on the file .lock there.

The system unlocks it when the process ends, however it ends. Locks of two kinds tell apart who
works and who only looks, so that no run is refused because somebody looked.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from pairedit.files import remove_temporaries

log = logging.getLogger(__name__)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
PATIENCE = 0.3  # seconds that a run waits for those that look, which take no time


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process out of a folder, and clear up after one that was killed.

    Args:
        folder: made if missing.

    Raises:
        ValueError: another process is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            _lock(folder, file)
        except OSError as error:
            log.warning("%s: cannot be locked (%s); start no second run in it", folder, error)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        remove_temporaries(folder)
        yield


def check_unlocked(folder: Path) -> None:
    """Look whether a process is at work in a folder, which may be missing; change nothing.

    Raises:
        ValueError: one is.
    """
    with suppress(OSError), (folder / LOCK).open(encoding="utf-8") as file:
        _lock(folder, file, shared=True)


def _lock(folder: Path, file: TextIO, *, shared: bool = False) -> None:
    """Lock a folder by its file until that is closed.

    Args:
        folder: of the run.
        file: of the lock.
        shared: with all others who only look.

    Raises:
        ValueError: a process is at work.
        OSError: the disk knows no locks.
    """
    if fcntl is None:
        return
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    last = time.monotonic() + (0 if shared else PATIENCE)
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > last:
                file.seek(0)
                who = file.read(20).strip() or "unknown"
                text = f"{folder}: another run is at work here (process {who})"
                raise ValueError(text) from error
        time.sleep(0.01)

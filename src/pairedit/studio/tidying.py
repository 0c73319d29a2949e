"""Own how much the page keeps: what was unused for longest goes; what a training uses stays.

rows, exports   can be made again
photos, pairs   that were dropped; pairs that a training names stay
uploads         what a browser has sent, and copies of what it was shown; emptied at each start
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

GIB = 2**30
# bytes
LIMITS = {"rows": 2 * GIB, "exports": GIB, "photos": GIB, "pairs": GIB, "uploads": 4 * GIB}


def tidy(
    own: Path, named: Collection[str] = (), limits: Mapping[str, int] = LIMITS
) -> Iterator[str]:
    """Bring what the page keeps below its limits; yield what to say of it.

    Args:
        own: the folder of the page.
        named: words of trainings; a folder whose name stands in them stays.
        limits: bytes by folder.
    """
    for name, most in limits.items():
        count, size = keep_newest(own / name, most, named)
        if count:
            yield (
                f"{own / name}: removed {count} that nobody has used for longest "
                f"({size / 2**20:.0f} MiB); at most {most / GIB:g} GiB are kept"
            )


def keep_newest(folder: Path, most: int, named: Collection[str] = ()) -> tuple[int, int]:
    """Remove the longest unused of a folder until the others have few enough bytes.

    The newest stays, however large it is.

    Returns:
        How many were removed, and their bytes.
    """
    found = sorted(((used(path), size_of(path), path) for path in inside(folder)), reverse=True)
    total = count = removed = 0
    for number, (_, size, path) in enumerate(found):
        total += size
        if number and total > most and not any(path.name in text for text in named):
            remove(path)
            count, removed = count + 1, removed + size
    return count, removed


def use(path: Path) -> None:
    """Note that a file or folder is used now."""
    with suppress(OSError):
        os.utime(path)


def used(path: Path) -> float:
    """Return when a file or folder was last used."""
    with suppress(OSError):
        return path.lstat().st_mtime
    return 0.0


def size_of(path: Path) -> int:
    """Count the bytes of a file, or of all files in a folder; links count nothing."""
    with suppress(OSError):
        if path.is_symlink():
            return 0
        if path.is_file():
            return path.stat().st_size
    return sum(size_of(inside) for inside in inside(path))


def remove(path: Path) -> None:
    """Remove a file or a folder; a link alone, never what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def inside(folder: Path) -> list[Path]:
    """List a folder, which need not be there."""
    with suppress(OSError):
        return list(folder.iterdir())
    return []

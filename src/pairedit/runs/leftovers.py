"""Own what a command leaves behind that was refused: nothing.

Hydra makes the folder of a run, and writes of a sweep what it is asked for, before anything can be
checked. At the end of a command folders go that it made and that are empty, or if it failed hold
its log alone; if no job of a sweep began, its files are as they were.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

_made: dict[Path, None] = {}  # folders, the outermost first
_before: dict[Path, bytes | None] = {}  # what stood in files; None where there was none


def note(folder: Path) -> None:
    """Note which parts of a folder's path are not there yet; called before it is made."""
    folder = folder.absolute()
    absent = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(absent):
        add(part)


def add(folder: Path) -> None:
    """Note a folder that nobody else can have made."""
    _made[folder.absolute()] = None


def keep(file: Path) -> None:
    """Note what stands in a file; called before it is written."""
    _before[file] = file.read_bytes() if file.is_file() else None


def clear(*, begun: bool, failed: bool = False) -> None:
    """Remove what was made and is empty.

    Args:
        begun: a job began, so the files that were kept belong to it.
        failed: the command did, and has said why; a log alone says no more.
    """
    for file, content in () if begun else _before.items():
        with suppress(OSError):
            file.unlink() if content is None else file.write_bytes(content)
    for folder in reversed(_made):
        with suppress(OSError):  # it holds something, or is not there
            handlers = _logs_in(folder)
            if failed and {Path(one.baseFilename) for one in handlers} == {*folder.iterdir()}:
                for handler in handlers:
                    handler.close()
                    Path(handler.baseFilename).unlink(missing_ok=True)
            folder.rmdir()
            # Whoever runs one command after the other must not log into a folder that is gone.
            for handler in handlers:
                logging.root.removeHandler(handler)
    _made.clear()
    _before.clear()


def _logs_in(folder: Path) -> list[logging.Handler]:
    """List the handlers that write files in a folder."""
    files = [one for one in logging.root.handlers if isinstance(one, logging.FileHandler)]
    return [one for one in files if Path(one.baseFilename).parent == folder]

"""Own the folder that `pairs=` names."""

from __future__ import annotations

from pathlib import Path

from pairedit.files import locate, near_path
from pairedit.runs.words import shell

SIDES = ("source", "target")


def pairs_folder(pairs: str) -> Path:
    """Return what may be a folder of pairs.

    Args:
        pairs: the value of the key.

    Raises:
        ValueError: there is no such folder; or it is one side of the pairs, and the message names
            the folder that holds both.
    """
    folder = locate(pairs)
    if not folder.is_dir():
        raise ValueError(
            f"pairs={pairs}: no such folder; expected one that holds source/ and target/"
            f"{near_path(folder)}"
        )
    if folder.name in SIDES and not any((folder / side).is_dir() for side in SIDES):
        both = folder.parent
        if all((both / side).is_dir() for side in SIDES):
            raise ValueError(
                f"pairs={pairs}: holds one side of the pairs; write {shell(f'pairs={both}')}"
            )
    return folder

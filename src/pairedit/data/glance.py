"""Own a look at pairs that are only to be shown: matched by name, none of them decoded."""

from __future__ import annotations

from pathlib import Path

from pairedit.data.examples import Pair
from pairedit.data.folders import list_folder
from pairedit.data.matching import match


def glance(folder: Path, source: str = "source", target: str = "target") -> list[Pair]:
    """Match the images of two folders by name; see `find_pairs`, which checks them too.

    Returns:
        The pairs, sorted by stem; at least one.

    Raises:
        ValueError: says what is not there.
    """
    for side in (source, target):
        if not (folder / side).is_dir():
            raise ValueError(f"{folder}: no {side}/ in it")
    sides = {side: list_folder(folder / side, prefix=f"{side}/") for side in (source, target)}
    # What is wrong with other files is no matter here.
    found = [
        Pair(stem=stem, source=folder / before, target=folder / after)
        for stem, before, after in match(folder, sides, [])
    ]
    if not found:
        raise ValueError(f"{folder}: no image of {source}/ has a partner in {target}/")
    return found

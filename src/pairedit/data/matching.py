"""Own how the files of two folders become pairs, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from PIL import Image

from pairedit.data.compare import Comparison, compare
from pairedit.data.folders import Listing
from pairedit.data.images import _decode

# By the pixels of both sides: the jobs of a sweep learn from the same pairs.
_compared: dict[tuple[bytes, bytes], Comparison] = {}


def match(
    folder: Path, sides: Mapping[str, Listing], problems: list[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the stem and the two files of every pair of a folder; note files without a partner.

    Stems that differ in the case of letters alone match where nothing else would.
    """
    (source, before), (target, after) = ((side, found.pictures) for side, found in sides.items())
    lonely = {source: before.keys() - after.keys(), target: after.keys() - before.keys()}
    partners = {stem: stem for stem in before.keys() & after.keys()}
    for here in sorted(lonely[source]):
        alike = {
            side: [stem for stem in lonely[side] if stem.casefold() == here.casefold()]
            for side in sides
        }
        if all(len(stems) == 1 for stems in alike.values()):
            partners[here] = alike[target][0]
            lonely[source].remove(here)
            lonely[target].remove(alike[target][0])
    for side, other in ((source, target), (target, source)):
        # A side that could not be listed is one problem, not one for each file opposite.
        for stem in sorted(lonely[side] - sides[other].broken) if sides[other].pictures else ():
            names = [f"{side}/{name}" for name in sides[side].pictures[stem]]
            problems.append(f"{', '.join(names)}: no image of that name in {other}/")
            for name in names:
                read_or_note(folder / name, name, problems)
    for stem, partner in sorted(partners.items()):
        if len(before[stem]) == len(after[partner]) == 1:
            yield stem, f"{source}/{before[stem][0]}", f"{target}/{after[partner][0]}"


def check_pairs(pairs: Iterable[tuple[str, str]], folder: Path, problems: list[str]) -> list[str]:
    """Decode every pair, compare its sides, note problems, and return doubts.

    Args:
        pairs: both files of each, as the folder knows them.
        folder: they are in.
        problems: receives what must be mended.
    """
    doubts = []
    seen: dict[tuple[bytes, bytes], str] = {}  # name by content
    for names in pairs:
        both = " and ".join(names)
        before, after = (read_or_note(folder / name, name, problems) for name in names)
        if not before or not after:
            continue
        content = _digest(before), _digest(after)
        if content[0] == content[1]:
            problems.append(f"{both}: equal pixels, the pair shows no edit")
        elif content in seen:
            problems.append(
                f"{seen[content]} and {names[0]}: the same pair twice, it would count double"
            )
        else:
            found = _compared.get(content) or compare(before, after)
            _compared[content] = found
            if found.refusal:
                problems.append(f"{both}: {found.refusal}")
            doubts += [f"{both}: {doubt}" for doubt in found.doubts]
        seen.setdefault(content, names[0])
    return doubts


def read_or_note(path: Path, name: str, problems: list[str]) -> Image.Image | None:
    """Decode one image, or note in `problems` why it cannot be used."""
    try:
        return _decode(path, name)
    except ValueError as error:
        problems.append(str(error))
        return None


def _digest(image: Image.Image) -> bytes:
    """Tell pictures apart by their pixels."""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()

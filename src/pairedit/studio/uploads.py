"""Own what people drop on the page: it is kept under names of ours, beside a note of theirs.

studio/pairs/<time>/source/01.png, target/01.png    pairs, in the order in which they matched
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairedit.data.kinds import kind_of, stem_of
from pairedit.runs.resume import fresh_folder

SIDES = ("source", "target")
MOST = 64  # pictures of a side; edits are learnt from one to three
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "HEIF": ".heic"}
LOGGER = "pairedit.data"


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Hold pairs that were dropped: where they are kept, and how they are called."""

    folder: Path
    names: Mapping[str, str]  # theirs by ours, such as source/01.png
    by_order: bool  # they were matched by order, since no two names are equal

    def worded(self, text: str) -> str:
        """Write a text with their names for ours."""
        for ours, theirs in self.names.items():
            text = text.replace(ours, theirs)
        return text.replace(f"{self.folder}: ", "")


def take_pairs(befores: Sequence[str], afters: Sequence[str], uploads: Path, keep: Path) -> Dropped:
    """Match pictures that were dropped, and keep them as a folder of pairs.

    Args:
        befores: files that the page has received.
        afters: the same.
        uploads: the folder that it receives files in.
        keep: receives a folder.

    Raises:
        ValueError: says in words what does not match.
    """
    sides = [[received(name, uploads) for name in names] for names in (befores, afters)]
    if not all(sides):
        raise ValueError("drop at least one picture before the edit and one after it")
    if max(map(len, sides)) > MOST:
        raise ValueError(f"{max(map(len, sides))} pictures on a side: at most {MOST} are taken")
    matched, by_order = _match(*sides)
    folder = fresh_folder(keep)
    names = {}
    for number, pair in enumerate(matched, 1):
        for side, path in zip(SIDES, pair, strict=True):
            ours = f"{side}/{number:02d}{suffix_of(path)}"
            (folder / side).mkdir(exist_ok=True)
            shutil.copyfile(path, folder / ours)
            names[ours] = f"{path.name} ({'before' if side == SIDES[0] else 'after'})"
    return Dropped(folder=folder, names=names, by_order=by_order)


def _match(befores: list[Path], afters: list[Path]) -> tuple[list[tuple[Path, Path]], bool]:
    """Match by names; by order, where there are equally many and none has a partner."""
    left, right = ({_plain(path): path for path in side} for side in (befores, afters))
    for side, found in ((befores, left), (afters, right)):
        if len(found) < len(side):
            raise ValueError("two pictures of one side have the same name; rename one of them")
    if left.keys() == right.keys():
        return [(left[name], right[name]) for name in sorted(left)], False
    if len(befores) == len(afters) and not left.keys() & right.keys():
        order = (sorted(side, key=lambda path: path.name) for side in (befores, afters))
        return list(zip(*order, strict=True)), True
    lonely = [
        f"{path.name} has no picture of that name {where}"
        for names, others, where in ((left, right, "after the edit"), (right, left, "before it"))
        for name, path in names.items()
        if name not in others
    ]
    raise ValueError("; ".join(lonely))


def _plain(path: Path) -> str:
    """Return what of a name has to match: without the suffix and words such as before."""
    stem = stem_of(path.name).casefold()
    return re.sub(r"[\W_]*(before|after|source|target)$", "", stem) or stem


def received(name: str, uploads: Path) -> Path:
    """Return a file that the page has received.

    Raises:
        ValueError: it lies elsewhere.
    """
    path = Path(name).resolve()
    if not path.is_relative_to(uploads.resolve()) or not path.is_file():
        raise ValueError("a file is missing; drop it again")
    return path


def suffix_of(path: Path) -> str:
    """Return a suffix by content, which alone says what a file is."""
    kind = kind_of(path)
    known = SUFFIXES.get(kind, f".{kind.lower()}")
    return known if re.fullmatch(r"\.[a-z]{3,4}", known) else ".png"


class Heard(logging.Handler):
    """Keep what is warned of inside: about data while they are read, or whatever else is named."""

    def __init__(self, logger: str = LOGGER) -> None:
        """Hear nothing yet."""
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger(logger)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line; a plan holds lines back and says them again once all is well."""
        if (said := record.getMessage()) not in self.lines:
            self.lines.append(said)

    def __enter__(self) -> Heard:
        """Begin to listen."""
        self._logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._logger.removeHandler(self)

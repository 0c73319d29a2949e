"""Own what lies in a folder: which of its files are pictures, and why the others are left out."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pairedit.data.images import _reason, formats, readable
from pairedit.data.kinds import OTHER, READ, SECOND, SUFFIXES, is_system, kind_of, stem_of

SYSTEMS = "of the system"
INSTALL = {"HEIF": "pip install pillow-heif", "AVIF": "pip install 'pillow>=11.3'"}


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Hold what was found in a folder and in those inside it; names are relative to it."""

    pictures: dict[str, list[str]] = field(default_factory=dict)  # names by stem
    broken: set[str] = field(default_factory=set)  # stems of pictures that a problem names
    left_out: list[tuple[str, str]] = field(default_factory=list)  # name and reason
    problems: list[str] = field(default_factory=list)  # what a user must mend


def list_folder(folder: Path, *, prefix: str = "", without: Collection[Path] = ()) -> Listing:
    """Account for every file of a folder, subfolders included.

    Args:
        folder: to list.
        prefix: stands before every name in reasons and problems, such as "source/".
        without: folders inside that are none of its business.

    Returns:
        Pictures by stem, which keeps the subfolder (a/1.jpg is "a/1"), in composed Unicode; what
        was left out; and problems: no picture at all, or a file that promises to be one and is
        not, or that is of a kind which is not read, unless a picture of its stem is.
    """
    found = Listing()
    unread: list[tuple[str, str]] = []
    second: list[tuple[str, str]] = []
    for name, path in _walk(folder, prefix, found, without):
        shown = prefix + name
        promised = SUFFIXES.get(path.suffix.lower())
        if path.name.startswith(".") or is_system(path.name, folder=False):
            found.left_out.append((shown, "hidden" if path.name[0] == "." else SYSTEMS))
            continue
        try:
            kind = kind_of(path)
        except OSError as error:
            kind = _reason(error)
        if kind in SECOND:
            second.append((name, kind))
        elif kind in formats():
            found.pictures.setdefault(_stem(name), []).append(name)
        elif kind in READ + OTHER:
            unread.append((name, kind))
        elif promised in READ:
            found.problems.append(f"{shown}: not a readable {readable()} image ({kind})")
            found.broken.add(_stem(name))
        elif promised:
            unread.append((name, f"{promised} by its name, but {kind}, which"))
        else:
            found.left_out.append((shown, kind))
    firsts = frozenset(found.pictures)
    for name, kind in second:
        if _stem(name) in firsts:
            found.left_out.append((prefix + name, f"{kind}, beside a picture that is read"))
        else:
            found.pictures.setdefault(_stem(name), []).append(name)
    for name, kind in unread:
        if twins := found.pictures.get(_stem(name)):
            found.left_out.append((prefix + name, f"{kind}, beside a picture that is read"))
        else:
            found.problems.append(f"{prefix}{name}: {kind} is not read; {_advice(kind)}")
            found.broken.add(_stem(name))
    for stem, twins in found.pictures.items():
        if len(twins) > 1:
            names = ", ".join(prefix + twin for twin in twins)
            found.problems.append(f"{names}: {len(twins)} files have the same stem, {stem}")
    if not found.pictures and not found.broken:
        found.problems.append(f"{prefix or folder.name + '/'}: no {readable()} image in it")
    return found


def say_left_out(left_out: Sequence[tuple[str, str]]) -> list[str]:
    """Write a line for each reason, with every file that it holds for."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out:
        by_reason.setdefault(reason, []).append(_printable(name))
    return [f"left out ({reason}): {', '.join(names)}" for reason, names in by_reason.items()]


def say_first(names: Collection[str], most: int = 8) -> str:
    """Write names in a line, the first few of many."""
    few = ", ".join(map(_printable, list(names)[:most]))
    return few if len(names) <= most else f"{few} and {len(names) - most} more"


def _printable(name: str) -> str:
    """Spell letters that would break a line, such as the return at the end of macOS's icons."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def _advice(kind: str) -> str:
    """Say what makes a picture readable."""
    install = INSTALL.get(kind)
    return f"use jpg, png or webp{f', or {install}' if install else ''}"


def _stem(name: str) -> str:
    """Return a relative name without its suffix.

    macOS stores decomposed accents, others composed ones: the same name to a user.
    """
    parent, slash, last = name.rpartition("/")
    return unicodedata.normalize("NFC", parent + slash + stem_of(last))


def _walk(
    folder: Path, prefix: str, found: Listing, without: Collection[Path]
) -> Iterator[tuple[str, Path]]:
    """Yield files, sorted, by names with / in them; note folders that are left out."""
    others = {path.resolve() for path in without}
    met: set[Path] = set()

    def walk(folder: Path, inside: str) -> Iterator[tuple[str, Path]]:
        shown = prefix + inside or f"{folder.name}/"
        try:
            met.add(folder.resolve())
            entries = sorted(folder.iterdir())
        except OSError as error:
            found.problems.append(f"{shown}: {_reason(error)}")
            return
        if inside and not entries:
            found.left_out.append((shown, "empty folder"))
        for path in entries:
            name = inside + path.name
            if not path.is_dir():
                yield name, path
            elif path.name.startswith(".") or is_system(path.name, folder=True):
                reason = "hidden" if path.name.startswith(".") else SYSTEMS
                found.left_out.append((f"{prefix}{name}/", reason))
            elif path.resolve() in met:
                found.left_out.append((f"{prefix}{name}/", "link to a folder that is read"))
            elif path.resolve() not in others:
                yield from walk(path, f"{name}/")

    yield from walk(folder, "")

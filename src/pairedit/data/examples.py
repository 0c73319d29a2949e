"""Own what a step of training learns from: pairs by stem, single images, prompts."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pairedit.data.images import _decode, _reason

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# Pictures a user may expect to work: refused by name instead of being skipped without a word.
OTHER_PICTURES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jxl", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Hold one before/after example of an edit."""

    stem: str
    source: Path
    target: Path

    @property
    def images(self) -> tuple[Path, ...]:
        """Return both sides."""
        return self.source, self.target

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the empty one: edits are learnt without words."""
        return ("",)


@dataclass(frozen=True, kw_only=True)
class Single:
    """Hold one image that is learnt alone."""

    path: Path

    @property
    def images(self) -> tuple[Path, ...]:
        """Return the one image."""
        return (self.path,)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return the empty one."""
        return ("",)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Hold the prompts of a text slider: what it acts on, and the two ends it runs between."""

    target: str
    positive: str
    negative: str

    @property
    def images(self) -> tuple[Path, ...]:
        """Return nothing: prompts need no image."""
        return ()

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return all three."""
        return self.target, self.positive, self.negative


Example = Pair | Single | Contrast


def find_pairs(folder: Path, source: str = "source", target: str = "target") -> list[Pair]:
    """Match the images of `folder/source` and `folder/target` by file stem.

    Every image is decoded once, so that what is wrong with the data is known before training.

    Args:
        folder: holds two folders of jpg, jpeg, png or webp, any case.
        source: name of the folder of the images before the edit.
        target: name of the folder of the images after it.

    Returns:
        The pairs, sorted by stem; at least one.

    Raises:
        ValueError: names every problem at once: a missing or empty folder, a file without
            partner, two files of one stem, a file that `read_image` refuses, a pair whose two
            images are equal, the same pair under two names.
    """
    folder = Path(folder)
    problems: list[str] = []
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; pairs are read from its {source}/ and {target}/"
        )
    if source == target:
        raise ValueError(f"{folder}: {source}/ cannot be before and after")
    sides = {side: _images_by_stem(folder / side, problems) for side in (source, target)}
    pairs = []
    seen: dict[tuple[bytes, bytes], str] = {}  # stem by content
    for stem in sorted(sides[source].keys() | sides[target].keys()):
        for side, other in ((source, target), (target, source)):
            # A side that could not be listed is one problem, not one for each file opposite.
            if stem not in sides[other] and sides[other]:
                names = ", ".join(f"{side}/{path.name}" for path in sides[side][stem])
                problems.append(f"{names}: no image of that name in {other}/")
        decoded = [
            _read_or_note(path, f"{side}/{path.name}", problems)
            for side in sides
            for path in sides[side].get(stem, [])
        ]
        if not all(len(sides[side].get(stem, [])) == 1 for side in sides):
            continue
        pair = Pair(stem=stem, source=sides[source][stem][0], target=sides[target][stem][0])
        before, after = decoded
        if before and after:
            content = _digest(before), _digest(after)
            if content[0] == content[1]:
                problems.append(
                    f"{source}/{pair.source.name} and {target}/{pair.target.name}: "
                    "equal pixels, the pair shows no edit"
                )
            elif content in seen:
                problems.append(
                    f"{seen[content]} and {pair.source.name}: the same pair twice, "
                    "it would count double"
                )
            seen.setdefault(content, pair.source.name)
        pairs.append(pair)
    if len(problems) == 1:
        raise ValueError(f"{folder}: {problems[0]}")
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ValueError(f"{folder}: {len(problems)} problems with the pairs:{lines}")
    return pairs


def find_images(folder: Path) -> dict[str, Path]:
    """List the images of a folder; every one is decoded once.

    Args:
        folder: holds jpg, jpeg, png or webp files, any case.

    Returns:
        Files by stem, sorted; at least one.

    Raises:
        ValueError: names every problem at once: no such folder, no image in it, two files of one
            stem, a file that `read_image` refuses.
    """
    problems: list[str] = []
    found = _images_by_stem(Path(folder), problems)
    for path in (path for paths in found.values() for path in paths):
        _read_or_note(path, path.name, problems)
    if problems:
        raise ValueError(f"{folder}: {'; '.join(problems)}")
    return {stem: found[stem][0] for stem in sorted(found)}


def pick_images(folder: Path, image_ids: Any = None) -> dict[str, Path]:
    """List the images of a folder that `image_ids` names.

    Args:
        folder: see `find_images`.
        image_ids: None for all, or a list of file stems; one alone needs no list.

    Returns:
        Files by stem, in the order asked for.

    Raises:
        ValueError: names the stems that are not there, or what is wrong with the folder.
    """
    images = find_images(folder)
    if image_ids is None:
        return images
    ids = [str(entry) for entry in (image_ids if isinstance(image_ids, list) else [image_ids])]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(f"image_ids={image_ids}: expected distinct file stems")
    missing = [entry for entry in ids if entry not in images]
    if missing:
        raise ValueError(
            f"image_ids: no {', '.join(missing)} in {folder}; there is {', '.join(images)}"
        )
    return {entry: images[entry] for entry in ids}


def _images_by_stem(folder: Path, problems: list[str]) -> dict[str, list[Path]]:
    """List the images of a folder under their stems; note what is wrong in `problems`."""
    name = f"{folder.name}/"
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        problems.append(f"{name}: {_reason(error)}")
        return {}
    found: dict[str, list[Path]] = {}
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            # macOS stores decomposed accents, others composed ones: the same name to a user.
            found.setdefault(unicodedata.normalize("NFC", path.stem), []).append(path)
        elif suffix in OTHER_PICTURES:
            problems.append(f"{name}{path.name}: {suffix} is not read; use jpg, png or webp")
    for stem, twins in found.items():
        if len(twins) > 1:
            names = ", ".join(name + twin.name for twin in twins)
            problems.append(f"{names}: {len(twins)} files of one stem ({stem})")
    if not found:
        problems.append(f"{name}: no jpg, png or webp image in it")
    return found


def _read_or_note(path: Path, name: str, problems: list[str]) -> Image.Image | None:
    """Decode one image, or note in `problems` why it cannot be used."""
    try:
        return _decode(path, name)
    except ValueError as error:
        problems.append(str(error))
        return None


def _digest(image: Image.Image) -> bytes:
    """Tell pictures apart by their pixels."""
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()

"""Own what a step of training learns from: pairs by stem, single images, prompts."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairedit.data.folders import list_folder, say_first, say_left_out
from pairedit.data.masks import read_mask
from pairedit.data.matching import check_pairs, match, read_or_note
from pairedit.files import near_path
from pairedit.problems import Problems

log = logging.getLogger(__name__)

MASKS = "masks"  # the folder of masks, beside the two sides of pairs


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Hold one before/after example of an edit."""

    stem: str
    source: Path
    target: Path
    mask: Path | None = None  # white where the edit may act; None: everywhere

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


class NoSides(ValueError):
    """Say that a folder of pairs lacks the folders of its sides."""


def find_pairs(folder: Path, source: str = "source", target: str = "target") -> list[Pair]:
    """Match the images of `folder/source` and `folder/target` by file stem.

    Every image is decoded once, and the two sides of a pair are compared, so that what is wrong
    with the data is known before training. What was found is logged, with every file left out.

    Args:
        folder: holds two folders of images, told by their content; subfolders match by name too.
        source: name of the folder of the images before the edit.
        target: name of the folder of the images after it.

    Returns:
        The pairs, sorted by stem; at least one.

    Raises:
        NoSides: there are no folders of these names.
        ValueError: names every problem at once: a missing or empty folder, a file without
            partner, two files of one stem, a file that `read_image` refuses, a pair whose two
            images are equal or differ in shape, the same pair under two names.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such folder; pairs are read from its {source}/ and {target}/"
            f"{near_path(folder)}"
        )
    if source == target:
        raise ValueError(f"{folder}: {source}/ cannot hold both sides")
    places = {source: folder / source, target: folder / target}
    _check_sides(folder, source, target)
    sides = {
        side: list_folder(
            place, prefix=f"{side}/", without=[p for p in places.values() if p != place]
        )
        for side, place in places.items()
    }
    left_out = [entry for side in sides.values() for entry in side.left_out]
    left_out += _beside(folder, {**places, MASKS: folder / MASKS})
    problems = [problem for side in sides.values() for problem in side.problems]
    matched = list(match(folder, sides, problems))
    masks = {} if MASKS in sides else _masks(folder, matched, problems)
    doubts = check_pairs([names for _, *names in matched], folder, problems)
    _refuse(folder, "the pairs", problems, left_out)
    _tell(folder, "pair", [stem for stem, *_ in matched], left_out)
    if masks:
        log.info(
            "%s in %s: of %s",
            f"{len(masks)} {'masks' if len(masks) > 1 else 'mask'}",
            folder / MASKS,
            say_first(list(masks)),
        )
    for doubt in doubts:
        log.warning("%s: %s", folder, doubt)
    return [
        Pair(stem=stem, source=folder / before, target=folder / after, mask=masks.get(stem))
        for stem, before, after in matched
    ]


def _masks(
    folder: Path, matched: Sequence[tuple[str, str, str]], problems: list[str]
) -> dict[str, Path]:
    """Find the mask of each pair that has one; note in `problems` those that fit no pair."""
    place = folder / MASKS
    if not place.is_dir():
        return {}
    found = list_folder(place, prefix=f"{MASKS}/")
    problems += found.problems
    pictures = {stem: folder / before for stem, before, _ in matched}
    masks = {}
    for stem, names in found.pictures.items():
        if stem not in pictures:
            problems.append(f"{MASKS}/{names[0]}: no pair of that name")
            continue
        masks[stem] = place / names[0]
        try:
            read_mask(masks[stem], pictures[stem])
        except ValueError as error:
            problems.append(str(error))
    return masks


def _check_sides(folder: Path, source: str, target: str) -> None:
    """Refuse a folder without one of its sides, with what is there instead.

    Raises:
        NoSides: names the sides that are missing.
    """
    missing = [f"{side}/" for side in (source, target) if not (folder / side).is_dir()]
    if not missing:
        return
    entries = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    raise NoSides(
        f"{folder}: no {' and no '.join(missing)} in it; there is {say_first(entries) or 'nothing'}"
        f". Pairs are read from {source}/ and {target}/, whose images have the same names"
    )


def find_images(folder: Path) -> dict[str, Path]:
    """List the images of a folder; every one is decoded once.

    What was found is logged, with every file left out.

    Args:
        folder: holds images, told by their content, also in subfolders.

    Returns:
        Files by stem, sorted; at least one. The stem of an image in a subfolder is "sub/stem".

    Raises:
        ValueError: names every problem at once: no such folder, no image in it, two files of one
            stem, a file that `read_image` refuses.
    """
    folder = Path(folder)
    found = list_folder(folder)
    problems = list(found.problems)
    for name in (name for names in found.pictures.values() for name in names):
        read_or_note(folder / name, name, problems)
    _refuse(folder, "the images", problems, found.left_out)
    stems = sorted(found.pictures)
    _tell(folder, "image", stems, found.left_out)
    return {stem: folder / found.pictures[stem][0] for stem in stems}


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
    ids = image_ids if isinstance(image_ids, list) else [image_ids]
    named = [(str(entry), _stems_of(entry, images)) for entry in ids]
    missing = [entry for entry, stems in named if not stems]
    if missing:
        raise ValueError(
            f"image_ids: no {', '.join(missing)} in {folder}; there is {', '.join(images)}"
        )
    for entry, stems in named:
        if len(stems) > 1:
            raise ValueError(
                f"image_ids: {entry} may be {' or '.join(stems)}; in quotes, as in "
                f"image_ids=['{stems[0]}'], it is the stem as it is written"
            )
    picked = [stem for _, (stem,) in named]
    twice = ", ".join(stem for stem, count in Counter(picked).items() if count > 1)
    if not picked or twice:
        named = f"; {twice} is there twice" if twice else ""
        raise ValueError(f"image_ids={image_ids}: expected distinct file stems{named}")
    return {stem: images[stem] for stem in picked}


def _stems_of(entry: Any, stems: Collection[str]) -> list[str]:
    """Find the stems that an id means, as it is written or as YAML and Hydra read it.

    They make a number of 1e5, 007 or 1_000, and a truth value of true.
    """
    text = unicodedata.normalize("NFC", str(entry))
    if text in stems:
        return [text]
    if entry is None or isinstance(entry, bool):
        word = "null" if entry is None else text.lower()
        return [stem for stem in stems if stem.lower() == word]
    if isinstance(entry, int | float):
        return [stem for stem in stems if _number(stem) == entry]
    return []


def _number(text: str) -> float | None:
    """Read a number, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def _beside(folder: Path, places: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Name what lies beside the two sides of pairs, unless a side is the folder itself."""
    if any(place.resolve() == folder.resolve() for place in places.values()):
        return
    *others, last = (f"{side}/" for side in places)
    reason = f"beside {', '.join(others)} and {last}"
    for path in sorted(folder.iterdir()):
        if not any(path in (place, *place.parents) for place in places.values()):
            yield path.name + "/" * path.is_dir(), reason


def _refuse(folder: Path, what: str, problems: list[str], left_out: list[tuple[str, str]]) -> None:
    """Raise all problems as one error, which also names the files that are left out."""
    Problems(problems).done(where=str(folder), of=what, more=say_left_out(left_out))


def _tell(folder: Path, what: str, stems: list[str], left_out: list[tuple[str, str]]) -> None:
    """Say what was found in a folder, and what was left out."""
    count = f"{len(stems)} {what}{'s' * (len(stems) > 1)}"
    log.info("%s in %s: %s", count, folder, say_first(stems))
    for line in say_left_out(left_out):
        log.info("%s", line)

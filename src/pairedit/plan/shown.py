"""Own what a sheet shows besides its images: the pairs, and the scale that is worth one of them.

pairs=true     those that each slider was trained on, where its file says so and they are there
pairs=FOLDER   these
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairedit.data.examples import Pair
from pairedit.data.glance import glance
from pairedit.files import locate
from pairedit.plan.eval import origin
from pairedit.plan.pairs import pairs_folder
from pairedit.plan.parse import Wanted
from pairedit.plan.recipe import shown_scales
from pairedit.plan.usual import SHARES
from pairedit.problems import Problems

Metadata = Mapping[str, Any]


def pairs_shown(
    asked: Any, headers: Mapping[Path, Metadata | None], problems: Problems, notes: list[str]
) -> dict[str, Sequence[Pair]]:
    """Find the pairs above a sheet, by the name of the edit.

    Args:
        asked: true, false or a folder.
        headers: the metadata of each slider; None of one that cannot be used.
        problems: receives a folder that is not there.
        notes: receives pairs that are not where the file says.
    """
    if asked in (False, None):
        return {}
    if asked is not True:
        folder = problems.attempt(lambda: pairs_folder(str(asked)))
        found = folder and problems.attempt(lambda: glance(folder))
        return {folder.resolve().name: found} if found else {}
    shown: dict[str, Sequence[Pair]] = {}
    for path, metadata in headers.items():
        known = origin(metadata or {})
        if known is None:
            continue
        try:
            found = glance(locate(known.folder), known.source, known.target)
            shown.setdefault(known.label, found)
        except ValueError as error:
            notes.append(
                f"{path}: the sheet has no pairs, since {error}; pairs=FOLDER names them, "
                "pairs=false leaves them out"
            )
    return shown


def in_pairs(
    sliders: Sequence[Wanted],
    units: Sequence[float | None],
    headers: Sequence[Metadata | None] = (),
) -> list[Wanted]:
    """Give sliders whose scales nobody chose those that are worth shares of a pair.

    Where nobody knows what a pair is, those that the preview showed, if the usual ones hardly
    showed the edit. Only where all of these sliders know; else they keep the usual ones.

    Args:
        sliders: each with its scales.
        units: the scale that is worth one pair of each.
        headers: the metadata of each.
    """
    noted = [shown_scales(header or {}) for header in headers] or [None] * len(sliders)
    known = [shares_of(unit) if unit else scales for unit, scales in zip(units, noted, strict=True)]
    if not all(mine for slider, mine in zip(sliders, known, strict=True) if slider.usual):
        return list(sliders)
    return [
        replace(slider, scales=mine) if slider.usual else slider
        for slider, mine in zip(sliders, known, strict=True)
    ]


def shares_of(unit: float) -> tuple[float, ...]:
    """Return the scales that are worth shares of a pair, in two digits."""
    return tuple(float(f"{share * unit:.2g}") for share in SHARES)

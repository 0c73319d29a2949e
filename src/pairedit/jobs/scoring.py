"""Own the score of a training, one number for a search, read from its closing report."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path

from pairedit.measure.measures import MEASURES

log = logging.getLogger(__name__)

USUAL = "matched off-target"
WITHOUT_PROBE = "matched identity"  # what any pairs allow to measure
AUTO = "auto"


def check_score(name: str | None) -> None:
    """Refuse a measure that does not exist.

    Raises:
        ValueError: names those that there are.
    """
    if name not in (None, AUTO, *MEASURES):
        known = ", ".join(MEASURES)
        raise ValueError(f"score={name}: no such measure; there is auto, {known}")


def score_of(folders: Iterable[Path], name: str | None) -> float | None:
    """Read what trainings are worth: the mean over their edits.

    Args:
        folders: with a report.json each.
        name: of a measure; auto or None for off-target at matched strength, or, where no probe
            reads the edit, identity there.

    Returns:
        NaN where a slider does not get as far as the measure needs; None where none was measured.
    """
    found = []
    for folder in folders:
        try:
            known = json.loads((folder / "report.json").read_text(encoding="utf-8"))["measures"]
        except (OSError, ValueError, KeyError):
            return None
        usual = USUAL if USUAL in known else WITHOUT_PROBE
        chosen = usual if name in (None, AUTO) else name
        if chosen not in known:
            return None
        value = known[chosen]
        value = value[-1] if isinstance(value, list) else value  # of a curve where it ends
        found.append(math.nan if value is None else float(value))
        if name is not None:
            log.info("%s: score %.4g (%s)", folder.name, found[-1], chosen)
    return sum(found) / len(found) if found else None

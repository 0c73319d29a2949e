"""Own the score of a training, one number for a search, read from its closing report."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path

from pairedit.plan.scores import AUTO

log = logging.getLogger(__name__)

USUAL = "matched off-target"
WITHOUT_PROBE = "matched identity"  # what any pairs allow to measure


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

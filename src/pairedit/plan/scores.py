"""Own the names that `score=` takes, known without torch, which the measures need."""

from __future__ import annotations

import re

from pairedit.files import PACKAGE
from pairedit.problems import did_you_mean

AUTO = "auto"


def check_score(name: str | None) -> None:
    """Refuse a measure that does not exist.

    Raises:
        ValueError: names those that there are.
    """
    known = measures()
    if name not in (None, AUTO, *known):
        near = did_you_mean(name, (AUTO, *known))
        raise ValueError(f"score={name}: no such measure; there is auto, {', '.join(known)}{near}")


def measures() -> list[str]:
    """List the measures by name, as they stand in the source of `measure.measures`."""
    source = (PACKAGE / "measure/measures.py").read_text(encoding="utf-8")
    return re.findall(r'^@measure\(\s*"([^"]+)"', source, re.M)

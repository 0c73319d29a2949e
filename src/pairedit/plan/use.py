"""Own how a slider is used: as the command says, else as its file notes, else plainly.

A file notes it in its metadata, `use: {local: true, schedule: 0.5}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pairedit.problems import Problems
from pairedit.schedules import ACCEPTED, is_schedule, lean_of

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Use:
    """Hold how one slider is sampled with; see `legs.Slider`."""

    local: bool = False
    lean: float = 0.0


def check_use(local: Any, schedule: Any, problems: Problems) -> bool:
    """Refuse values of `local` and `schedule` that mean nothing; say whether there were none."""
    good = local == AUTO or isinstance(local, bool)
    problems.expect(good, f"local={local}: expected auto, true or false")
    known = schedule == AUTO or is_schedule(schedule)
    problems.expect(known, f"schedule={schedule}: expected auto, {ACCEPTED}")
    return good and known


def use_of(metadata: Mapping[str, Any], local: Any, schedule: Any) -> Use:
    """Settle how a slider is used.

    Args:
        metadata: of its file, which may come from anybody.
        local: true, false or auto.
        schedule: a word, a number or auto.
    """
    noted = metadata.get("use")
    noted = noted if isinstance(noted, Mapping) else {}
    if local == AUTO:
        local = noted.get("local") is True
    if schedule == AUTO:
        there = noted.get("schedule")
        schedule = there if is_schedule(there) else 0.0
    return Use(local=local, lean=lean_of(schedule))

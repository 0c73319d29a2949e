"""Own whether a checkpoint belongs to the run that wants to go on from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def check_same(place: Path, notes: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another method, other settings or other images.

    Raises:
        ValueError: names what differs.
    """
    changed = []
    for part in ("settings", "examples"):
        there, now = notes.get(part, {}), about[part]
        keys = [key for key in there | now if there.get(key) != now.get(key)]
        if part == "settings":
            changed += [f"{key}={there.get(key)} there, {now.get(key)} now" for key in keys]
        else:
            changed += [f"{key} has changed" for key in keys]
    if notes.get("method") != about["method"]:
        changed.append(f"method {notes.get('method')} there, {about['method']} now")
    if changed:
        raise ValueError(f"{place}: the run was started differently: {'; '.join(changed)}")
    if notes.get("torch") != about["torch"]:
        log.warning(
            "%s: written with torch %s, this is %s: the last digits may differ",
            place,
            notes.get("torch"),
            about["torch"],
        )

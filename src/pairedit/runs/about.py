"""Own what a checkpoint belongs to: a method, its settings, its examples."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from pairedit.data.examples import Contrast, Example, Pair
from pairedit.machine.hardware import Hardware
from pairedit.settings import Training

log = logging.getLogger(__name__)

FREE = ("steps", "save_every", "snapshots")  # settings that no step depends on


def describe_run(
    method: object, examples: Sequence[Example], settings: Training, hardware: Hardware
) -> dict[str, Any]:
    """Describe what a checkpoint belongs to, as JSON values."""
    numbers = asdict(settings) | {
        "batch_terms": hardware.batch_terms,
        "gradient_checkpointing": float(hardware.gradient_checkpointing),
    }
    named = repr(method) if is_dataclass(method) else type(method).__qualname__
    seen: dict[str, Any] = {}
    for number, example in enumerate(examples):
        if isinstance(example, Contrast):
            seen[f"prompts {number}"] = asdict(example)
        masks = [example.mask] if isinstance(example, Pair) and example.mask else []
        for path in [*example.images, *masks]:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            seen[f"{path.parent.name}/{path.name}"] = digest
    about = {"method": named, "settings": numbers, "examples": seen}
    return json.loads(json.dumps({**about, "torch": torch.__version__}))


def check_same(folder: Path, notes: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another method, other settings or other images.

    Raises:
        ValueError: names what differs.
    """
    changed = []
    for part in ("settings", "examples"):
        there, now = notes.get(part, {}), about[part]
        if part == "settings":
            # What a newer version has added was at its default.
            added = {field.name: field.default for field in fields(Training)}
            there = {key: added.get(key) for key in now} | there
        keys = [k for k in there | now if there.get(k) != now.get(k) and k not in FREE]
        if part == "settings":
            changed += [f"{key}={there.get(key)} there, {now.get(key)} now" for key in keys]
        else:
            changed += [f"{key} has changed" for key in keys]
    if notes.get("method") != about["method"]:
        changed.append(f"method {notes.get('method')} there, {about['method']} now")
    if changed:
        raise ValueError(f"{folder}: the run was started differently: {'; '.join(changed)}")
    if notes.get("torch") != about["torch"]:
        log.warning(
            "%s: written with torch %s, this is %s: the last digits may differ",
            folder,
            notes.get("torch"),
            about["torch"],
        )

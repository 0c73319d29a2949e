"""Own `merge=[{path: A, scale: 0.4},B]`: which sliders become one file, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pairedit.files import expand_home
from pairedit.lora.names import Names
from pairedit.methods import SEMANTIC
from pairedit.plan.parse import is_number
from pairedit.plan.roles import inspect_role
from pairedit.plan.use import use_of
from pairedit.problems import Problems

SHARED = ("base_model", "method", "slider_passes")  # kept where all parts agree
CONFIG = ("model", "num_inference_steps", "guidance_scale", "resolution")  # the same, inside config
STEPS = 28  # of a run that levels are compared in


@dataclass(frozen=True, kw_only=True)
class Part:
    """Hold one slider of a merged file."""

    path: Path
    scale: float


def parse_merge(value: Any) -> list[Part]:
    """Read `merge`.

    Raises:
        ValueError: names the entry.
    """
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError(f"merge={value}: expected at least two sliders, such as [A,B]")
    return [_part(entry) for entry in value]


def _part(entry: Any) -> Part:
    """Read one entry."""
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, Mapping) or not {"path"} <= set(entry) <= {"path", "scale"}:
        raise ValueError(f"merge: {entry!r} is not a path or {{path: .., scale: ..}}")
    path, scale = entry["path"], entry.get("scale", 1.0)
    if not isinstance(path, str):
        raise ValueError(f"merge: path {path!r} is not a path")
    if not is_number(scale) or not scale:
        raise ValueError(f"merge: scale {scale!r} of {path} is not a number other than 0")
    return Part(path=expand_home(path), scale=float(scale))


def describe_merged(
    parts: Sequence[Part], names: Names, problems: Problems, notes: list[str]
) -> dict[str, Any]:
    """Check the files of a merged one; return what it says of itself, as JSON values.

    Args:
        parts: at least two.
        names: of the modules of their base model.
        problems: receives what cannot be.
        notes: receives what the user should know, such as what they do not agree in.
    """
    known = [
        problems.attempt(
            lambda part=part: inspect_role(part.path, names, notes, checkpoints=False, key="merge")
        )
        for part in parts
    ]
    found = [entry for entry in known if entry is not None]
    if len(found) < len(parts):
        return {}
    bases = list(dict.fromkeys(entry["base_model"] for entry in found if "base_model" in entry))
    if len(bases) > 1:
        notes.append(
            f"merge: the sliders were trained on {' and '.join(bases)}; the new file names no "
            "base model"
        )
    labels = [str(e.get("dataset") or p.path.stem) for e, p in zip(found, parts, strict=True)]
    configs = [e["config"] if isinstance(e.get("config"), Mapping) else {} for e in found]
    config = _agreed(configs, CONFIG)
    return {
        "role": SEMANTIC,
        "dataset": "+".join(labels),
        **_agreed(found, SHARED),
        **({"config": config} if config else {}),
        **_use(found, parts, notes),
    }


def _agreed(entries: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """Return the values that all entries share."""
    first = entries[0]
    return {
        key: first[key]
        for key in keys
        if key in first and all(key in e and e[key] == first[key] for e in entries)
    }


def _use(
    entries: Sequence[Mapping[str, Any]], parts: Sequence[Part], notes: list[str]
) -> dict[str, Any]:
    """Keep how sliders are used where they agree; say so where they do not."""
    uses = [use_of(entry, STEPS) for entry in entries]
    if len(set(uses)) == 1:
        return _agreed(entries, ["use"])
    each = "; ".join(f"{part.path} with {use}" for part, use in zip(parts, uses, strict=True))
    notes.append(
        f"merge: the sliders are used differently ({each}), but one file is used in one way: none "
        "is noted, so say skip=, local=, schedule= and flowedit= when you render it"
    )
    return {}

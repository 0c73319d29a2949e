"""Own what helps to choose: the snapshots of a training, or one scale at many seeds.

What needs a slider is refused where there is none.

snapshots=true lora=RUN    a line for each snapshot, a column for each scale
overview=true              scale 0 and one more of many seeds, ordered by how well it worked
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pairedit.edits import RealImage
from pairedit.files import expand_home
from pairedit.lora.file import inspect_lora
from pairedit.methods import SEMANTIC
from pairedit.plan.keys import GenConfig
from pairedit.plan.recipe import recipe_of
from pairedit.plan.roles import checkpoint_step
from pairedit.problems import Problems
from pairedit.runs.folder import CHECKPOINTS, STATE
from pairedit.runs.words import typed

SEEDS = {"start": 0, "count": 24}  # of an overview
FIRST = [0]  # of snapshots
# Keys that say how a slider is rendered. Not `skip`: a photograph has one without a slider, too.
NEEDING = (
    *("scales", "grid", "snapshots", "overview", "local", "schedule", "flowedit", "calibrated"),
    *("mask", "animate", "differences"),
)
SNAPSHOT = re.compile(rf"{SEMANTIC}-(\d{{6,}})\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Hold what is rendered instead of what the keys alone say."""

    lora: Any
    scales: Any
    seeds: Any
    snapshots: Mapping[int, Path]  # by step; empty for other renderings


def check_slider(config: DictConfig, problems: Problems, notes: list[str]) -> None:
    """Note all keys that have no effect without a slider, where there is none.

    They are set aside, so that the rest can be checked.
    """
    if config.lora is not None:
        return
    given = [key for key in NEEDING if config[key] != getattr(GenConfig, key)]
    shown = [f"{key}={typed(config[key])}" for key in given]
    have = "has" if len(given) == 1 else "have"
    problems.expect(
        not given, f"{', '.join(shown)}: {have} no effect, because no lora is given; add lora=PATH"
    )
    for key in given:
        config[key] = getattr(GenConfig, key)
    if config.skip != "auto" and config.image is None and config.again is None:
        notes.append(f"skip={config.skip}: has no effect, because no lora is given")


def choose(config: DictConfig, edit: Any, problems: Problems) -> Choosing:
    """Read `snapshots` and `overview`, and what they give as defaults."""
    asked = [key for key in ("snapshots", "overview", "grid") if config[key]]
    problems.expect(
        len(asked) < 2, f"{' and '.join(f'{key}=true' for key in asked)}: expected one of them"
    )
    plain = Choosing(lora=config.lora, scales=config.scales, seeds=config.seeds, snapshots={})
    key = next((key for key in ("snapshots", "overview") if config[key]), None)
    if key is None or len(asked) > 1:
        return plain
    problems.expect(not config.animate, f"{key}=true: makes no animation, leave out animate=true")
    if not isinstance(config.lora, str):
        problems.append(f"{key}=true: expected one slider, as lora=PATH")
        return plain
    if key == "overview":
        problems.expect(
            not isinstance(edit, RealImage),
            "overview=true: shows many seeds, and a photograph has none; leave out edit=real",
        )
        scales = problems.attempt(lambda: _two(config))
        return Choosing(
            lora=config.lora,
            scales=scales,
            seeds=SEEDS if config.seeds is None else config.seeds,
            snapshots={},
        )
    snapshots = problems.attempt(lambda: find_snapshots(config.lora)) or {}
    seeds = config.seeds
    if seeds is None and not isinstance(edit, RealImage):
        seeds = FIRST
    lora = str(list(snapshots.values())[-1]) if snapshots else None
    return Choosing(lora=lora, scales=config.scales, seeds=seeds, snapshots=snapshots)


def find_snapshots(lora: str) -> dict[int, Path]:
    """List the states of a slider that a training has kept: snapshots, checkpoints, the final one.

    Args:
        lora: the folder of a run with one training, that of a training, or a LoRA file in it.

    Returns:
        Files by step, ascending.

    Raises:
        ValueError: there are fewer than two.
    """
    place = expand_home(lora)
    place = place if place.is_dir() else place.parent
    inside = [p for p in sorted(place.glob("*")) if p.is_dir() and _steps(p)]
    if not _steps(place) and len(inside) > 1:
        names = ", ".join(str(path) for path in inside)
        raise ValueError(f"lora={lora}: holds several trainings; expected one of {names}")
    folder = place if _steps(place) or not inside else inside[0]
    found = _steps(folder)
    if len(found) < 2:
        raise ValueError(
            f"lora={lora}: snapshots=true needs two states of one training, there is "
            f"{len(found)}; pairedit-train keeps them with snapshots=true"
        )
    return dict(sorted(found.items()))


def _steps(folder: Path) -> dict[int, Path]:
    """List the sliders of a training by step; a LoRA file goes before a checkpoint."""
    found = {}
    for part in (CHECKPOINTS, STATE):
        for path in folder.glob(f"{part}/[0-9]*.safetensors"):
            if (step := checkpoint_step(path)) is not None:
                found[step] = path
    for path in folder.glob(f"{SEMANTIC}-*.safetensors"):
        if match := SNAPSHOT.fullmatch(path.name):
            found[int(match[1])] = path
    end = folder / f"{SEMANTIC}.safetensors"
    if end.is_file():
        with suppress(ValueError):  # said where the file is used
            step = inspect_lora(end).get("step")
            if isinstance(step, int):
                found[step] = end
    return found


def _two(config: DictConfig) -> list[float]:
    """Return the scales of an overview: 0 and one more.

    Raises:
        ValueError: more, or none, are asked for.
    """
    if config.scales is None:
        return [0.0, 1.0 if config.calibrated else _scale(expand_home(config.lora))]
    others = [scale for scale in config.scales if scale]
    if len(others) != 1 or len(config.scales) > 2:
        raise ValueError(
            f"scales={list(config.scales)}: an overview shows one scale beside 0, such as [0.6]"
        )
    return [0.0, float(others[0])]


def _scale(path: Path) -> float:
    """Return the scale worth one pair, or the one to begin with."""
    metadata: Mapping[str, Any] = {}
    with suppress(ValueError):  # said where the file is used
        metadata = inspect_lora(path)
    return recipe_of(metadata).strength

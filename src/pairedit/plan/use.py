"""Own how a slider is used: as the command says, else as its file notes, else by default.

A file notes it in its metadata,
`use: {skip: 0.6, local: true, schedule: 0.5, flowedit: false, by: probe}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pairedit.edits import Edit, RealImage
from pairedit.plan.parse import Wanted, is_number
from pairedit.problems import Problems
from pairedit.schedules import ACCEPTED, is_schedule, lean_of
from pairedit.settings import Rendering, Use, is_local, is_skip

AUTO = "auto"
NEAR = 0.02  # of noise levels: less than a step


def check_use(local: Any, schedule: Any, flowedit: Any, problems: Problems) -> bool:
    """Refuse values of keys of a use that mean nothing; say whether there were none."""
    good = local == AUTO or is_local(local)
    problems.expect(good, f"local={local}: expected auto, true, pixels or false")
    known = schedule == AUTO or is_schedule(schedule)
    problems.expect(known, f"schedule={schedule}: expected auto, {ACCEPTED}")
    clear = flowedit == AUTO or isinstance(flowedit, bool)
    problems.expect(clear, f"flowedit={flowedit}: expected auto, true or false")
    return good and known and clear


def use_of(
    metadata: Mapping[str, Any],
    steps: int,
    *,
    skip: Any = AUTO,
    local: Any = AUTO,
    schedule: Any = AUTO,
    flowedit: Any = AUTO,
) -> Use:
    """Settle how a slider is used.

    Args:
        metadata: of its file, which may come from anybody.
        steps: of the run.
        skip: a step, a noise level, auto, or None for the run's.
        local: true, pixels, false or auto.
        schedule: a word, a number or auto.
        flowedit: true, false or auto.
    """
    noted = metadata.get("use")
    noted = noted if isinstance(noted, Mapping) else {}
    if skip == AUTO:
        there = noted.get("skip")
        level = isinstance(there, float) and is_skip(there, steps)
        skip = there if level else None
    if local == AUTO:
        there = noted.get("local")
        local = there if is_local(there) else False
    if schedule == AUTO:
        there = noted.get("schedule")
        schedule = there if is_schedule(there) else 0.0
    if flowedit == AUTO:
        flowedit = noted.get("flowedit") is True
    return Use(skip=skip, local=local, lean=lean_of(schedule), flowedit=flowedit)


def uses_of(
    config: DictConfig,
    sliders: Sequence[Wanted],
    headers: Sequence[Mapping[str, Any] | None],
    edit: Edit | None,
    problems: Problems,
) -> list[Use]:
    """Settle how each slider is used; none where the keys mean nothing."""
    if not check_use(config.local, config.schedule, config.flowedit, problems):
        return []
    run = AUTO if config.skip == AUTO else None  # a skip for the whole run is no slider's own
    published = isinstance(edit, RealImage) and edit.published
    usual = False if published and config.flowedit == AUTO else config.flowedit
    uses = [
        use_of(
            metadata or {},
            config.num_inference_steps,
            skip=run if slider.skip is None else slider.skip,
            local=config.local if slider.local is None else slider.local,
            schedule=config.schedule if slider.schedule is None else slider.schedule,
            flowedit=usual if slider.flowedit is None else slider.flowedit,
        )
        for slider, metadata in zip(sliders, headers, strict=True)
    ]
    finished = any(use.flowedit for use in uses)
    problems.expect(
        not (published and finished),
        "flowedit=true: edit=real_published has a formula of its own; expected false, or edit=real",
    )
    if finished and isinstance(edit, RealImage) and not published:
        problems.expect(
            edit.iterations == RealImage.iterations,
            f"iterations={edit.iterations}: has no effect; flowedit=true needs no inversion",
        )
    return uses


def one_way(uses: Sequence[Use], paths: Sequence[Path], notes: list[str]) -> list[Use]:
    """Let sliders that act together edit the finished picture together, or none of them.

    Args:
        uses: of each slider.
        paths: of their files.
        notes: receives which of them do not.
    """
    if len({use.flowedit for use in uses}) < 2:
        return list(uses)
    apart = ", ".join(str(p) for p, use in zip(paths, uses, strict=True) if not use.flowedit)
    notes.append(
        f"flowedit=false: {apart} is used with it, so all sliders are; flowedit=true uses all of "
        "them on the finished picture"
    )
    return [replace(use, flowedit=False) for use in uses]


def is_tried(metadata: Mapping[str, Any]) -> bool:
    """Say whether a file notes a use that was found by trial."""
    there = metadata.get("use")
    return isinstance(there, Mapping) and there.get("by") == "probe"


def noted(use: Use, by: str) -> dict[str, Any]:
    """Return what a file says of how its slider is used.

    Args:
        use: how.
        by: what it was found by, `pairs` or `probe`.
    """
    levels = {} if use.skip is None else {"skip": use.skip}
    entries = {"local": use.local, "schedule": use.lean, "flowedit": use.flowedit, "by": by}
    return levels | entries


def unit_of(
    metadata: Mapping[str, Any], path: Path, rendering: Rendering, use: Use, notes: list[str]
) -> float:
    """Return the scale that is worth one pair, from a LoRA's metadata.

    Raises:
        ValueError: nobody has measured it, or the slider never got there.
    """
    scale = _scale(metadata)
    if scale is None:
        raise ValueError(
            f"calibrated=true: {path} holds no calibration; pairedit-eval lora={path} finds which "
            "scale is worth one pair, or says how far the slider gets if none is"
        )
    notes += [
        f"{path} was calibrated at {key}={there!r}, but this rendering has {value}"
        for key, there, value in _unlike(metadata, rendering, use)
    ]
    return scale


def known_unit(
    metadata: Mapping[str, Any] | None, rendering: Rendering, use: Use, model: str
) -> float | None:
    """Return the scale that is worth one pair in this very use; None where nobody measured it."""
    scale = _scale(metadata or {})
    if scale is None or metadata["calibration"].get("model", model) != model:
        return None
    return None if any(_unlike(metadata, rendering, use)) else scale


def _scale(metadata: Mapping[str, Any]) -> float | None:
    """Return the scale that a file notes as worth one pair; it may come from anybody."""
    known = metadata.get("calibration")
    scale = known.get("scale") if isinstance(known, Mapping) else None
    return float(scale) if is_number(scale) and scale > 0 else None


def _unlike(
    metadata: Mapping[str, Any], rendering: Rendering, use: Use
) -> Iterator[tuple[str, Any, Any]]:
    """Yield in what a use differs from the calibrated one: the key, its value there and here."""
    known = metadata["calibration"]
    asked = {
        "skip": rendering.skip if use.skip is None else use.skip,
        "num_inference_steps": rendering.num_inference_steps,
        "local": use.local,
        "schedule": use.lean,
        "flowedit": use.flowedit,
    }
    # Those that do not say it were measured before there was another way.
    known = {"flowedit": False, **known}
    for key, value in asked.items():
        level = key == "skip" and isinstance(value, float)
        there = known.get("sigma" if level else key, value)
        same = is_number(there) and abs(there - value) < NEAR if level else there == value
        if not same:
            yield key, there, value

"""Own how a slider is rendered, by what its file says: for programs that do not read our metadata.

A file may come from anybody, and may say less than everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pairedit.lora.spec import size_of
from pairedit.measure.subject import Unit
from pairedit.plan.parse import is_number
from pairedit.plan.use import NEAR, use_of
from pairedit.plan.usual import DEFAULT_SCALES
from pairedit.settings import Local, Size, is_skip

STEPS = 28  # of a file that does not say it, as are the next two
GUIDANCE = 3.5
SIZE = 1024, 1024
SHOWN = "shown"  # entry of a LoRA's metadata: the scales of its preview, where they are not usual
GUESS = 3  # place among them of the scale that anybody begins with: the last but one


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hold how one slider is rendered."""

    scale: float | None  # worth one pair; None: nobody has measured it
    guess: float  # the scale to begin with in that case: one of the preview
    interval: tuple[float, float] | None  # of that scale, 95 %
    sure: str  # how sure it is that it is worth one pair; empty where nobody knows
    finished: bool  # it was measured with flowedit, on the finished picture
    skip: int | float | None  # the step or noise level from which on it acts; None: not said
    level: float | None  # the noise level of that step, where it is known
    steps: int  # of a whole run
    lean: float
    local: Local
    flowedit: bool
    guidance_scale: float | None
    size: Size
    prompt: str | None
    tokens: int | None  # that a prompt is cut to

    @property
    def strength(self) -> float:
        """Return the scale to render at: what is worth one pair, or the guess."""
        return self.guess if self.scale is None else self.scale


def recipe_of(metadata: Mapping[str, Any]) -> Recipe:
    """Read how a slider is rendered from its metadata."""
    config = mapping(metadata.get("config"))
    model, known = mapping(config.get("model")), mapping(metadata.get("calibration"))
    steps, skip = STEPS, None
    for there, first in (
        (known.get("num_inference_steps"), known.get("skip")),
        (config.get("num_inference_steps"), model.get("skip")),
    ):
        if isinstance(there, int) and is_number(first) and is_skip(first, there):
            steps, skip = there, first
            break
    level = sigma if skip == known.get("skip") and is_number(sigma := known.get("sigma")) else None
    use = use_of(metadata, steps)
    # What a trial has found counts before what the base model is used with. A calibration at that
    # level names the step, too.
    if use.skip is not None and (level is None or abs(level - use.skip) >= NEAR):
        skip, level = use.skip, None
    if isinstance(skip, float):
        level = skip
    scale, ends = known.get("scale"), known.get("interval")
    measured = is_number(scale) and scale > 0
    whole = isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))
    prompt, tokens = model.get("prompt"), model.get("max_sequence_length")
    return Recipe(
        scale=float(scale) if measured else None,
        guess=(shown_scales(metadata) or DEFAULT_SCALES)[GUESS],
        interval=(float(ends[0]), float(ends[1])) if measured and whole else None,
        sure=_sure(known) if measured else "",
        finished=known.get("flowedit") is True,
        skip=skip,
        level=level,
        steps=steps,
        lean=use.lean,
        local=use.local,
        flowedit=use.flowedit,
        guidance_scale=config.get("guidance_scale", GUIDANCE),
        size=size_of(config) or SIZE,
        prompt=prompt if isinstance(prompt, str) else None,
        tokens=tokens if isinstance(tokens, int) else None,
    )


def shown_scales(metadata: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Return the scales that a file notes as those of its preview; it may come from anybody."""
    scales = metadata.get(SHOWN)
    whole = isinstance(scales, list) and len(scales) == len(DEFAULT_SCALES)
    rise = whole and all(map(is_number, scales)) and scales == sorted(set(scales))
    return tuple(map(float, scales)) if rise and scales[GUESS] > 0 else None


def _sure(known: Mapping[str, Any]) -> str:
    """Say how sure a calibration is."""
    scale, error, people = (known.get(name) for name in ("scale", "error", "people"))
    if not isinstance(people, int):
        return ""
    return str(Unit(scale=scale, error=error if is_number(error) else None, people=people))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}

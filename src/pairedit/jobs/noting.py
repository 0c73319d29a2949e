"""Own what an evaluation finds out about a slider and notes in its file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pairedit.bases.base import Base
from pairedit.lora.file import LoraFile, annotate_lora, inspect_lora
from pairedit.measure import measures
from pairedit.measure.choice import by_pairs, by_trial
from pairedit.measure.evaluate import Result, Setting
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Subject, Unit
from pairedit.measure.table import numbers, sureness
from pairedit.plan.eval import EvalPlan
from pairedit.plan.use import noted
from pairedit.settings import scale_text, step_of

log = logging.getLogger(__name__)


def settle(
    base: Base,
    subject: Subject,
    lora: LoraFile,
    setting: Setting,
    readers: Mapping[str, Instrument],
    plan: EvalPlan,
) -> Subject:
    """Find how a slider is best used where nobody has said so, and note it in its file.

    Args:
        base: the model, without LoRAs.
        subject: the slider.
        lora: its file, as read.
        setting: how to render.
        readers: instruments by name.
        plan: says whether files may be changed.
    """
    if not subject.open or not subject.pairs:
        return subject
    choice = by_pairs(base, subject.pairs, setting.rendering.size)
    choice = by_trial(base, subject, lora, first=choice, setting=setting, readers=readers)
    name = f"{subject.label} on {subject.dataset}"
    log.info("%s: best used with %s, by its %s", name, choice.use, choice.by)
    if plan.calibrate:
        _note(subject.path, use=noted(choice.use, choice.by))
    return subject.used(choice.use)


def calibrate(result: Result, sigmas: Tensor, settings: Mapping[str, Any]) -> None:
    """Note in a LoRA file the scale that is worth one pair; take an older note away if none is.

    Args:
        result: of the slider.
        sigmas: float32 [steps + 1], of the run.
        settings: that hold for the whole evaluation.
    """
    subject = result.subject
    note = calibration_of(result, sigmas, settings["model"])
    if note is not None or subject.path.suffix != ".safetensors":
        _note(subject.path, calibration=note)
    elif "calibration" in inspect_lora(subject.path):
        _note(subject.path, calibration=None)


def calibration_of(result: Result, sigmas: Tensor, model: str) -> dict[str, Any] | None:
    """Return what a file says of the scale that is worth one pair; None where none is.

    Args:
        result: of the slider.
        sigmas: float32 [steps + 1], of the run.
        model: the name of the base model.
    """
    unit, subject = result.recommended, result.subject
    if unit is None:
        return None
    known: dict[str, Any] = {}
    if subject.unit is None:  # else other people were read for it
        summary = result.summaries[measures.calibration]
        known = {"interval": [numbers(summary.low), numbers(summary.high)]}
    attribute = None if result.seen.guessed else result.seen.attribute
    return calibration(unit, subject, sigmas, **known, attribute=attribute, model=model)


def worth(result: Result) -> str:
    """Say which scale is worth one pair, in which use, and how sure that is; or why none is."""
    subject, unit, verdict = result.subject, result.recommended, result.verdict
    name = f"{subject.label} on {subject.dataset}"
    if unit is None:
        why = f"the verdict is {verdict.name}"
        if verdict.best < 1:
            why = f"up to {verdict.last:g} the slider gets to {100 * verdict.best:.0f} % of it"
        return f"{name}: no scale is worth one pair: {why}"
    used = " with flowedit=true" * subject.flowedit
    lead = f"{name}: scale {scale_text(unit.scale)}{used}"
    return f"{lead} is worth one pair {unit}"


def calibration(unit: Unit, subject: Subject, sigmas: Tensor, **more: Any) -> dict[str, Any]:
    """Return what a file says of the scale that is worth one pair, as JSON values.

    Args:
        unit: the scale, and how sure it is.
        subject: the slider, as it was used.
        sigmas: float32 [steps + 1], of the run.
        more: what it was measured on.
    """
    skip = step_of(subject.skip, sigmas)
    return {
        "scale": round(unit.scale, 6),
        **sureness(unit),
        "skip": skip,
        # Other bases, sizes and numbers of steps have other grids: the level says where.
        "sigma": round(float(sigmas[skip]), 6),
        "num_inference_steps": len(sigmas) - 1,
        "local": subject.local,
        "schedule": subject.lean,
        "flowedit": subject.flowedit,
        **more,
    }


def _note(path: Path, **entries: Any) -> None:
    """Change entries of a LoRA file; say so where that cannot be done."""
    (what,) = entries
    if path.suffix != ".safetensors":
        log.info("%s: holds no metadata, so no %s is noted; export it first", path, what)
        return
    try:
        annotate_lora(path, **entries)
    except OSError as error:
        log.warning("%s: the %s could not be noted (%s)", path, what, error)

"""Own a row: one rendering at many scales, and what changes at each of them.

notes.json   by scale what the probe reads, or how well the photograph comes back
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairedit.files import json_text, locate, replacing
from pairedit.jobs.gen import render_into
from pairedit.jobs.opening import open_model
from pairedit.measure.evaluate import measure_slider
from pairedit.measure.readers import open_readers
from pairedit.measure.selfcheck import decibel
from pairedit.measure.table import numbers
from pairedit.plan.eval import EvalPlan
from pairedit.plan.gen import GenPlan
from pairedit.sample import Sample

NOTES = "notes.json"
SHOWN = ("image change", "target", "off-target", "share of a pair", "identity")


def run_row(plan: GenPlan, folder: Path, of: Callable[[], EvalPlan] | None = None) -> None:
    """Render a plan and note what can be told of its pictures.

    Args:
        plan: a checked configuration.
        folder: receives what pairedit-gen writes, and notes.json, last.
        of: says what the one slider is, once the pictures are there; None for several sliders
            and for photographs.
    """
    samples = render_into(folder, plan)
    notes: dict[str, Any] = {}
    if plan.photos:
        notes["decibel"] = [decibel(s) for s in samples if not any(s.scales)]
    elif of:
        notes |= _measured(samples, of(), plan.changes)
    with replacing(folder / NOTES) as temporary:
        temporary.write_text(json_text(notes), encoding="utf-8")


def _measured(
    samples: Sequence[Sample], plan: EvalPlan, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure the slider on one lane, where scale 0 is among its scales."""
    lane = sorted(samples, key=lambda sample: sample.scales)
    scales = tuple(sample.scales[0] for sample in lane)
    if 0 not in scales or max(scales) <= 0:
        return {}
    size = plan.rendering.size
    # The base that has just rendered.
    base = open_model(plan.model, device=plan.device, hardware=plan.hardware, changes=changes)
    readers, missing = open_readers(
        plan.readers, model=locate(plan.model.path), size=size, device=str(base.device)
    )
    placed = {(0, k): sample for k, sample in enumerate(lane)}
    result = measure_slider(plan.subjects[0], placed, scales, size, readers, missing)
    found = {m.name: numbers(s.mean) for m, s in result.summaries.items() if m.name in SHOWN}
    return {"attribute": result.seen.attribute, "scales": list(scales), "measures": found}

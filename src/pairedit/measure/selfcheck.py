"""Own the end of a training run: evidence, in a few lines, that the LoRA does something.

Attached modules and the norm of each update come from the weights; a short curve comes from a few
seeds, as many as fit into `SHARE` of the time that training took.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairedit.bases.base import Base
from pairedit.data.images import to_tensor
from pairedit.files import json_text, replacing
from pairedit.lora.file import LoraFile
from pairedit.machine.quantised import weight_of
from pairedit.machine.swapping import fetch
from pairedit.measure import measures
from pairedit.measure.evaluate import Result
from pairedit.measure.table import named, numbers
from pairedit.runs.resume import training_of
from pairedit.runs.tracking import Run
from pairedit.sample import Sample

log = logging.getLogger(__name__)

SHARE = 0.1  # of the training time; the first lane is rendered in any case
LANES = 8  # at most


@dataclass(frozen=True, kw_only=True)
class Update:
    """Hold how large one LoRA has become."""

    modules: int
    norm: float  # Frobenius norm of all B A at scale 1
    share: float  # of the norm of the weights they are added to


def update_of(lora: LoraFile, base: Base) -> Update:
    """Measure a LoRA against the base weights of its modules."""
    total = whole = 0.0
    linears = dict(base.transformer.named_modules())
    for module, (down, up) in lora.weights.items():
        # |B A|^2 = tr(A^T B^T B A), without the large product itself.
        total += float(((up.T @ up) * (down @ down.T)).sum())
        fetch(base.transformer, module)
        whole += float(weight_of(linears[module]).float().square().sum())
    return Update(
        modules=len(lora.weights), norm=max(total, 0) ** 0.5, share=(total / whole) ** 0.5
    )


def further_lanes(spent: float, each: float, lanes: int, training: float) -> int:
    """Return how many more lanes fit into the report's share of the training time.

    Args:
        spent: seconds that the report took so far.
        each: seconds that one lane takes.
        lanes: number of those that there are.
        training: seconds that training took.
    """
    left = (SHARE * training - spent) / each
    return max(0, min(LANES - lanes, int(left)))


def placed(lanes: Sequence[Sequence[Sample]]) -> dict[tuple[int, int], Sample]:
    """Return the images of lanes by lane and scale."""
    return {(n, k): image for n, lane in enumerate(lanes) for k, image in enumerate(lane)}


def say_slider(
    result: Result, updates: Mapping[str, Update], *, folder: Path, run: Run, step: int
) -> None:
    """Say what was found about a trained slider, and write report.json.

    Args:
        result: of the slider.
        updates: of every LoRA that was trained, by role.
        folder: receives report.json.
        run: receives the same as a table.
        step: updates that the slider has seen.
    """
    subject, known, verdict = result.subject, result.summaries, result.verdict
    scales, people = result.seen.scales, len(result.lanes)
    _say_updates(subject.dataset, updates)
    lines = {"image change": known[measures.image_change].mean}
    if measures.target in known:
        lines[named(result.seen)] = known[measures.target].mean
    for name, curve in lines.items():
        log.info(
            "%s: %s at scale %s (%d %s)",
            subject.dataset,
            name,
            ", ".join(f"{s:g}: {_signed(v)}" for s, v in zip(scales, curve, strict=True) if s),
            people,
            "seed" if people == 1 else "seeds",
        )
    lora = subject.typed or f"lora={subject.path}"
    advice = result.advise(lora, training_of(subject.path))
    level = logging.WARNING if advice else logging.INFO
    told = f"{verdict.told}: {advice}" if advice else verdict.told
    log.log(level, "%s: verdict %s", subject.dataset, told)
    content = {
        "verdict": verdict.name,
        **({"doubt": verdict.doubt} if verdict.doubt else {}),
        "advice": result.advise(),
        "updates": {role: asdict(update) for role, update in updates.items()},
        "seeds": [seed for seed, _ in result.lanes],
        "scales": list(scales),
        "attribute": result.seen.attribute,
        "guessed": result.seen.guessed,
        "measures": {m.name: numbers(summary.mean) for m, summary in known.items()},
    }
    _write(content, folder)
    heads = ("scale", *lines)
    columns = zip(scales, *(numbers(line) for line in lines.values()), strict=True)
    run.table("report", heads, [list(row) for row in columns], step)


def check_content(
    *,
    name: str,
    updates: Mapping[str, Update],
    samples: Sequence[Sample],
    folder: Path,
    run: Run,
    step: int,
) -> None:
    """Say how near a content LoRA leads noise to its image, and write report.json.

    Args:
        name: of the image.
        updates: of the content LoRA, by role.
        samples: rendered from the noise of several seeds, beside the image itself.
        folder: receives report.json.
        run: receives the same as a table.
        step: updates that the LoRA has seen.
    """
    _say_updates(name, updates)
    decibels = {sample.seed: decibel(sample) for sample in samples}
    found = ", ".join(f"{value:.1f} dB from seed {seed}" for seed, value in decibels.items())
    log.info("%s: reconstruction %s", name, found)
    _write(
        {
            "updates": {role: asdict(update) for role, update in updates.items()},
            "seeds": list(decibels),
            "reconstruction": list(decibels.values()),
        },
        folder,
    )
    run.table("report", ("seed", "dB"), [list(row) for row in decibels.items()], step)


def _say_updates(name: str, updates: Mapping[str, Update]) -> None:
    """Log how large every LoRA has become."""
    for role, update in updates.items():
        log.info(
            "%s: %s LoRA changes the weights of %d modules by %.2g %% (norm %.3g)",
            name,
            role,
            update.modules,
            100 * update.share,
            update.norm,
        )


def decibel(sample: Sample) -> float:
    """Return the peak signal-to-noise ratio of an edit against its photograph."""
    error = (to_tensor(sample.image) - to_tensor(sample.photo.image)).div(2).square().mean()
    return float(-10 * error.clamp(min=1e-10).log10())


def _write(content: Mapping[str, Any], folder: Path) -> None:
    """Write report.json."""
    with replacing(folder / "report.json") as temporary:
        temporary.write_text(json_text(content, indent=1), encoding="utf-8")


def _signed(value: Tensor) -> str:
    return f"{float(torch.as_tensor(value)):+.3f}"

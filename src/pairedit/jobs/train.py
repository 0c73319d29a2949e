"""Own a training job, from its checked plan to the files it leaves behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pairedit.bases.base import Base
from pairedit.data.examples import Example, Pair, Single
from pairedit.data.images import pixels_of
from pairedit.data.shapes import Sizing, counted, frame_of, loss
from pairedit.files import locate
from pairedit.jobs import closing
from pairedit.jobs.looking import look_at, show_losses
from pairedit.jobs.opening import look_over, open_for, read_part
from pairedit.lora.file import LoraFile, inspect_lora
from pairedit.machine.devices import memory_advice
from pairedit.measure.choice import Choice, by_pairs
from pairedit.measure.gauge import probe_gauge, size_gauge
from pairedit.measure.readers import AttributeProbe, open_readers
from pairedit.pictures.pairs import MOST, draw_pairs
from pairedit.pictures.png import save_png
from pairedit.plan.eval import attribute_of
from pairedit.plan.train import TrainPlan
from pairedit.plan.use import noted
from pairedit.runs.checkpoints import has_checkpoints, remove_checkpoints
from pairedit.runs.folder import CHECKPOINTS, REPORT, begin, check_begin, check_state
from pairedit.runs.lock import locked
from pairedit.runs.looking import Asking
from pairedit.runs.settling import PATIENCE, Gauge
from pairedit.runs.stopping import Stopping
from pairedit.runs.tracking import JsonLines, Run, Several
from pairedit.runs.words import pasteable
from pairedit.settings import Size
from pairedit.train import fit

log = logging.getLogger(__name__)

NOTHING: Mapping[str, LoraFile] = MappingProxyType({})
NAMED = ("base_model", "dataset", "method", "step", "origin")  # of a LoRA that another starts from


def run_training(
    plan: TrainPlan,
    folder: Path,
    *,
    words: Sequence[str] = (),
    stopping: Stopping | None = None,
) -> dict[str, Path]:
    """Train one LoRA (or content and semantic) for each dataset, or single image, of a plan.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml, overrides.yaml and, for each dataset, a folder with
            metrics.jsonl, the LoRA files, pairs.png, loss.png, preview.png, report.json and
            report.html, and previews/ with what was seen on the way.
        words: the overrides that the configuration was composed from, and options of Hydra.
        stopping: tells when to save and stop.

    Returns:
        The LoRA to sample with, by dataset name: the semantic one, of a single image its content.

    Raises:
        ValueError: another process works in the folder, or what is there is of another run.
        MemoryError: says which keys need less.
    """
    asked = {"names": plan.pairs, "resolved": plan.resolved, "resume": plan.resume}
    if check_begin(folder, **asked) is None:
        with memory_advice(_less_memory(plan), plan.hardware):
            look_over(plan)  # before anything is written: without a model no run begins
    with locked(folder):
        resolved = begin(folder, **asked, words=words)
        plan = replace(plan, resolved=resolved, words=words)
        for note in plan.notes:
            log.warning("%s", note)
        with memory_advice(_less_memory(plan), plan.hardware), Asking(folder) as asking:
            trained = {
                name: _train_one(plan, folder / name, pairs, stopping or Stopping(), asking)
                for name, pairs in plan.pairs.items()
            }
    key = "content_lora" if plan.method.learns_from is Single else "lora"
    for name, path in trained.items():
        log.info("%s: %s=%s", name, key, pasteable(path))
        closing.say_older(name, path)
    for name, path in trained.items():
        if plan.report and plan.method.learns_from is Pair:
            closing.say_scale(name, path, words)
    for name in trained:
        if (path := folder / name / REPORT).exists():
            log.info("%s: report: %s", name, path.resolve())
    return trained


def _train_one(
    plan: TrainPlan,
    folder: Path,
    pairs: Sequence[Example],
    stopping: Stopping,
    asking: Asking,
) -> Path:
    """Train on one dataset, as far as that has not been done; return the LoRA to sample with."""
    name = folder.name
    files = _finished(plan, folder) if plan.resume else None
    wanted = {"loss.png": True, "preview.png": plan.preview, "report.json": plan.report}
    wanted[REPORT] = plan.report and plan.method.learns_from is not Single
    if files and all((folder / left).exists() for left, asked in wanted.items() if asked):
        log.info("%s: finished already", name)
        return files[plan.method.roles[-1]]
    # Before the model: a bad LoRA is refused at once.
    init = {role: read_part(path, plan.model, role) for role, path in plan.init[name].items()}
    base = open_for(plan)
    title = f"{plan.method_name}-{name}"
    run: Run = Several(
        [
            JsonLines(folder / "metrics.jsonl", resume=plan.resume),
            plan.tracker.open(title, folder, plan.resolved, resume=plan.resume),
        ]
    )
    try:
        plan = shown_alike(plan, say_sizes(name, pairs, plan.training.size))
        _show_pairs(plan, folder, pairs, run)
        choice = choose(base, plan, pairs)
        metadata = about(plan, name, choice, init)
        started = time.perf_counter()
        files = files or fit(
            base=base,
            method=plan.method,
            pairs=pairs,
            settings=plan.training,
            folder=folder,
            run=run,
            metadata=metadata,
            name=name,
            init=init,
            resume=plan.resume,
            stopping=stopping,
            looking=look_at(
                base, plan, folder, pairs, use=choice and choice.use, run=run, asking=asking
            ),
            gauge=gauge_of(base, plan, pairs, metadata) if plan.stop else None,
        )
        show_losses(folder, run, plan.training.steps)
        if (plan.preview or plan.report) and plan.method.learns_from is Single:
            closing.show_and_check_content(base, plan, files, folder=folder, run=run)
        elif plan.preview or plan.report:
            seconds = time.perf_counter() - started
            closing.show_and_check_slider(
                base, plan, files, folder=folder, run=run, seconds=seconds, choice=choice
            )
    finally:
        run.finish()
    return files[plan.method.roles[-1]]


def about(
    plan: TrainPlan, name: str, choice: Choice | None, init: Mapping[str, LoraFile] = NOTHING
) -> dict[str, Any]:
    """Gather what the LoRA files of a training say of it, as JSON values.

    Args:
        plan: what is trained.
        name: of the dataset.
        choice: how the slider is used by its pairs; None where there are none.
        init: what the LoRAs started from, by role.
    """
    start = init.get(plan.method.roles[-1])
    carried = plan.model.guidance.slider_passes
    return {
        "base_model": plan.model.name,
        "method": plan.method_name,
        "dataset": name,
        "config": plan.resolved,
        **({"slider_passes": carried} if carried else {}),
        **({"use": noted(choice.use, choice.by)} if choice else {}),
        **({"origin": {"init": _named(start)}} if start else {}),
    }


def _named(lora: LoraFile) -> dict[str, Any]:
    """Say which LoRA a training started from, without the path: files are given away."""
    known = {key: lora.metadata[key] for key in NAMED if key in lora.metadata}
    return {"file": lora.path.name, "sha256": lora.sha256, **known}


def choose(base: Base, plan: TrainPlan, pairs: Sequence[Example]) -> Choice | None:
    """Choose how a slider is used by its pairs; None where there are none."""
    if plan.method.learns_from is not Pair:
        return None
    return by_pairs(base, pairs, plan.training.size)


def gauge_of(
    base: Base, plan: TrainPlan, pairs: Sequence[Example], metadata: Mapping[str, Any]
) -> Gauge:
    """Choose what tells that a training has learnt enough, and say what it costs.

    Args:
        base: the model, without LoRAs.
        plan: what is trained.
        pairs: what is learnt from.
        metadata: what the LoRA files will say, the edited attribute included where it is known.
    """
    attribute = attribute_of(metadata)
    role, settings = plan.method.roles[-1], plan.training
    drawn = replace(settings, size=plan.preview_at.size)
    readers, _ = open_readers(
        {"probe": AttributeProbe()},
        model=locate(plan.model.path),
        size=drawn.size,
        device=str(base.device),
    )
    if readers and attribute in readers["probe"].columns and plan.method.learns_from is Pair:
        gauge = probe_gauge(base, pairs, drawn, role, readers["probe"], attribute)
    else:
        gauge = size_gauge(base, pairs, settings, role)
    log.info(
        "stop=auto: every %d steps %s is measured, in %d passes of the model for one picture. "
        "Training ends when it no longer rises, at step %d at the earliest, at %d at the latest",
        gauge.every,
        gauge.name,
        gauge.passes,
        (1 + PATIENCE) * gauge.every,
        settings.steps,
    )
    return gauge


def _show_pairs(plan: TrainPlan, folder: Path, pairs: Sequence[Example], run: Run) -> None:
    """Draw what the model sees of the pairs, unless the run that goes on has done so."""
    path = folder / "pairs.png"
    if plan.method.learns_from is not Pair or (plan.resume and path.exists()):
        return
    save_png(draw_pairs(pairs, plan.training.size, title=folder.name), path, {})
    run.image("pairs", path, 0)
    if (left := len(pairs) - MOST) > 0:
        log.info("%s: shows the first %d of %d pairs, %d left out", path, MOST, len(pairs), left)


def say_sizes(name: str, examples: Sequence[Example], sizing: Sizing) -> list[Size]:
    """Return the size that each example is brought to; log them, and what is cut off."""
    sizes = []
    for example in examples:
        for path in example.images[:1]:
            pixels = pixels_of(path)
            frame = frame_of(sizing, *pixels)
            sizes.append(frame.size)
            if cut := loss(frame, *pixels):
                log.info("%s: %s: %s", name, path.name, cut)
    if any(height != width for height, width in sizes):
        log.info("%s: trained at %s", name, counted(sizes))
    return sizes


def shown_alike(plan: TrainPlan, sizes: Sequence[Size]) -> TrainPlan:
    """Preview in the size that all examples have, if they have one."""
    size = sizes[0] if len(set(sizes)) == 1 else plan.preview_at.size
    return replace(plan, preview_at=replace(plan.preview_at, size=size))


def _finished(plan: TrainPlan, folder: Path) -> dict[str, Path] | None:
    """Return the final LoRA files of an earlier run if it came to its end.

    Raises:
        ValueError: one of them is damaged; or more steps are asked for, and its state is gone.
    """
    files = {role: folder / f"{role}.safetensors" for role in plan.method.roles}
    if has_checkpoints(folder / CHECKPOINTS) or not all(path.exists() for path in files.values()):
        return None
    steps = plan.training.steps
    end = min(_planned(inspect_lora(path, plan.model.names), steps) for path in files.values())
    if end < steps:
        check_state(folder, end, steps)
        log.info("%s: the files of step %d stay until step %d is done", folder.name, end, steps)
        return None
    remove_checkpoints(folder / CHECKPOINTS)
    return files


def _planned(metadata: Mapping[str, Any], usual: int) -> int:
    """Return the steps that a training was to have; it may have stopped by itself before."""
    config = metadata.get("config")
    steps = config.get("steps") if isinstance(config, Mapping) else None
    return steps if isinstance(steps, int) else metadata.get("step", usual)


def _less_memory(plan: TrainPlan) -> str:
    """Name the keys by which this job would need less memory."""
    keys = {
        "gradient_checkpointing=true": plan.changes.get("gradient_checkpointing") != 1,
        "batch_terms=false": plan.changes.get("batch_terms", True),
        "a smaller resolution": True,
    }
    return ", ".join(key for key, helps in keys.items() if helps)

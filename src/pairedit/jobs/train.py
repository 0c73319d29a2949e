"""Own a training job, from its checked plan to the files it leaves behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pairedit.bases.base import Base
from pairedit.data.examples import Example, Pair, Single
from pairedit.data.images import load_image
from pairedit.edits import Photo, RealImage
from pairedit.files import locate
from pairedit.jobs.opening import open_model
from pairedit.lora.file import LoraFile, annotate_lora, inspect_lora, read_lora
from pairedit.lora.spec import THUMBNAIL
from pairedit.machine.devices import memory_advice
from pairedit.measure.readers import AttributeProbe, open_readers
from pairedit.measure.selfcheck import check_content, check_slider, further_lanes, update_of
from pairedit.measure.subject import Subject
from pairedit.pictures.lanes import draw_sheet, lanes_of
from pairedit.pictures.pairs import draw_pairs
from pairedit.pictures.png import save_png, thumbnail
from pairedit.plan.eval import attribute_of
from pairedit.plan.train import TrainPlan
from pairedit.runs.checkpoints import has_checkpoints, remove_checkpoints
from pairedit.runs.folder import CHECKPOINTS, begin, locked
from pairedit.runs.stopping import Stopping
from pairedit.runs.tracking import JsonLines, Run, Several
from pairedit.runs.words import pasteable
from pairedit.sample import Sample, Slider, generate
from pairedit.train import fit

log = logging.getLogger(__name__)

PREVIEW_SCALES = (0.0, 0.2, 0.4, 0.6)
PREVIEW_LANES = 2  # seeds 0 and 1


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
            metrics.jsonl, the LoRA files, pairs.png, preview.png and report.json.
        words: the overrides that the configuration was composed from, and options of Hydra.
        stopping: tells when to save and stop.

    Returns:
        The LoRA to sample with, by dataset name: the semantic one, of a single image its content.

    Raises:
        ValueError: another process works in the folder, or what is there is of another run.
        MemoryError: says which keys need less.
    """
    with locked(folder):
        resolved = begin(
            folder, names=plan.pairs, resolved=plan.resolved, words=words, resume=plan.resume
        )
        plan = replace(plan, resolved=resolved)
        for note in plan.notes:
            log.warning("%s", note)
        with memory_advice(_less_memory(plan), plan.hardware):
            trained = {
                name: _train_one(plan, folder / name, pairs, stopping)
                for name, pairs in plan.pairs.items()
            }
    key = "content_lora" if plan.method.learns_from is Single else "lora"
    for name, path in trained.items():
        log.info("%s: %s=%s", name, key, pasteable(path))
    return trained


def _train_one(
    plan: TrainPlan,
    folder: Path,
    pairs: Sequence[Example],
    stopping: Stopping | None,
) -> Path:
    """Train on one dataset, as far as that has not been done; return the LoRA to sample with."""
    name = folder.name
    files = _finished(plan, folder) if plan.resume else None
    wanted = {"preview.png": plan.preview, "report.json": plan.report}
    if files and all((folder / left).exists() for left, asked in wanted.items() if asked):
        log.info("%s: finished already", name)
        return files[plan.method.roles[-1]]
    base = open_model(plan.model, device=plan.device, hardware=plan.hardware, changes=plan.changes)
    title = f"{plan.method_name}-{name}"
    run: Run = Several(
        [
            JsonLines(folder / "metrics.jsonl", resume=plan.resume),
            plan.tracker.open(title, folder, plan.resolved, resume=plan.resume),
        ]
    )
    try:
        _show_pairs(plan, folder, pairs, run)
        started = time.perf_counter()
        carried = plan.model.guidance.slider_passes
        files = files or fit(
            base=base,
            method=plan.method,
            pairs=pairs,
            settings=plan.training,
            folder=folder,
            run=run,
            metadata={
                "base_model": plan.model.name,
                "method": plan.method_name,
                "dataset": name,
                "config": plan.resolved,
                **({"slider_passes": carried} if carried else {}),
            },
            name=name,
            resume=plan.resume,
            stopping=stopping or Stopping(),
        )
        if (plan.preview or plan.report) and plan.method.learns_from is Single:
            show_and_check_content(base, plan, files, folder=folder, run=run)
        elif plan.preview or plan.report:
            seconds = time.perf_counter() - started
            show_and_check_slider(base, plan, files, folder=folder, run=run, seconds=seconds)
    finally:
        run.finish()
    return files[plan.method.roles[-1]]


def _show_pairs(plan: TrainPlan, folder: Path, pairs: Sequence[Example], run: Run) -> None:
    """Draw what the model sees of the pairs, unless the run that goes on has done so."""
    path = folder / "pairs.png"
    if plan.method.learns_from is not Pair or (plan.resume and path.exists()):
        return
    save_png(draw_pairs(pairs, plan.training.size, title=folder.name), path, {})
    run.image("pairs", path, 0)


def _finished(plan: TrainPlan, folder: Path) -> dict[str, Path] | None:
    """Return the final LoRA files of an earlier run if it came to its end.

    Raises:
        ValueError: one of them is damaged.
    """
    files = {role: folder / f"{role}.safetensors" for role in plan.method.roles}
    if has_checkpoints(folder / CHECKPOINTS) or not all(path.exists() for path in files.values()):
        return None
    for path in files.values():
        inspect_lora(path, plan.model.names)
    remove_checkpoints(folder / CHECKPOINTS)
    return files


def _less_memory(plan: TrainPlan) -> str:
    """Name the keys by which this job would need less memory."""
    keys = {
        "gradient_checkpointing=true": plan.changes.get("gradient_checkpointing") != 1,
        "batch_terms=false": plan.changes.get("batch_terms", True),
        "a smaller resolution": True,
    }
    return ", ".join(key for key, helps in keys.items() if helps)


def show_and_check_slider(
    base: Base,
    plan: TrainPlan,
    files: Mapping[str, Path],
    *,
    folder: Path,
    run: Run,
    seconds: float,
) -> None:
    """Render a few scales of a trained LoRA: for the preview, for the report, or for both.

    Args:
        base: the model, without LoRAs.
        plan: what was trained.
        files: the LoRAs by role.
        folder: receives preview.png and report.json.
        run: receives both.
        seconds: that training took; the report takes at most a tenth of them.
    """
    loras = {role: read_lora(path, plan.model.names) for role, path in files.items()}
    edits = loras[plan.method.roles[-1]]
    lanes = _few_lanes(base, plan, Slider(lora=edits, scales=PREVIEW_SCALES), seconds)
    if plan.preview:
        shown = [sample for lane in lanes[:PREVIEW_LANES] for sample in lane]
        _show(plan, shown, edits, folder, run)
    if not plan.report:
        return
    readers, missing = open_readers(
        {"probe": AttributeProbe()},
        model=locate(plan.model.path),
        size=plan.training.size,
        device=str(base.device),
    )
    check_slider(
        subject=Subject(
            path=edits.path,
            label=plan.method_name,
            dataset=folder.name,
            pairs=[pair for pair in plan.pairs[folder.name] if isinstance(pair, Pair)],
            attribute=attribute_of(edits.metadata),
            skip=plan.preview_at.skip,
        ),
        updates={role: update_of(lora, base) for role, lora in loras.items()},
        lanes=lanes,
        size=plan.training.size,
        readers=readers,
        missing=missing,
        folder=folder,
        run=run,
        step=plan.training.steps,
    )


def _few_lanes(base: Base, plan: TrainPlan, slider: Slider, seconds: float) -> list[list[Sample]]:
    """Render as many seeds as the preview needs, and more for the report while time is left."""

    def shoot(seeds: Sequence[int]) -> list[list[Sample]]:
        samples = generate(
            base,
            sliders=[slider],
            prompts=[plan.model.prompt],
            seeds=seeds,
            rendering=plan.preview_at,
        )
        return lanes_of(list(samples))

    first = PREVIEW_LANES if plan.preview else 1
    started = time.perf_counter()
    lanes = shoot(range(first))
    spent = time.perf_counter() - started
    more = further_lanes(spent, first, seconds) if plan.report else 0
    return lanes + shoot(range(first, first + more)) if more else lanes


def _show(
    plan: TrainPlan, samples: Sequence[Sample], lora: LoraFile, folder: Path, run: Run
) -> None:
    """Draw preview.png; a slider's file receives it small."""
    sheet = draw_sheet(samples, title=f"{folder.name}: {plan.method_name}")
    if plan.method.learns_from is not Single:
        # First, as the preview's file says that all of this has been done.
        annotate_lora(lora.path, {THUMBNAIL: thumbnail(sheet)})
    save_png(sheet, folder / "preview.png", {"lora": lora.path.name})
    run.image("preview", folder / "preview.png", plan.training.steps)


def show_and_check_content(
    base: Base, plan: TrainPlan, files: Mapping[str, Path], *, folder: Path, run: Run
) -> None:
    """Render what a content LoRA makes of noise, beside the image it has learnt.

    See `show_and_check_slider`.
    """
    loras = {role: read_lora(path, plan.model.names) for role, path in files.items()}
    (lora,) = loras.values()
    (example,) = plan.pairs[folder.name]
    image = load_image(example.path, plan.training.size)
    samples = list(
        generate(
            base,
            sliders=[],
            prompts=[""],
            seeds=range(PREVIEW_LANES),
            rendering=replace(plan.preview_at, skip=0),
            edit=RealImage(inversion="lora"),
            photos=[Photo(path=example.path, image=image, content=lora)],
        )
    )
    if plan.preview:
        _show(plan, samples, lora, folder, run)
    if plan.report:
        check_content(
            name=folder.name,
            updates={role: update_of(lora, base) for role, lora in loras.items()},
            samples=samples,
            folder=folder,
            run=run,
            step=plan.training.steps,
        )

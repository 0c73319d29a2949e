"""Own one job from its checked plan to the files it leaves behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pairedit
from pairedit.checkpoints import has_checkpoints, remove_checkpoints
from pairedit.closing import close, further_lanes, update_of
from pairedit.config import Model, locate
from pairedit.data import Contrast, Pair
from pairedit.devices import choose_precision, make_accelerator, memory_advice
from pairedit.evalplan import origin
from pairedit.evaluate import Subject, open_readers
from pairedit.flux import Flux, load
from pairedit.lora import inspect_lora, read_lora
from pairedit.plan import GenPlan, TrainPlan
from pairedit.readers import AttributeProbe
from pairedit.runs import CHECKPOINTS, CONFIG, begin, locked, pasteable, write_yaml
from pairedit.sample import Sample, Slider, column_label, file_name, generate, metadata
from pairedit.sheets import animate, contact_sheet, save_png
from pairedit.stopping import Stopping
from pairedit.tracking import JsonLines, Run, Several
from pairedit.train import Settings, fit

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
    """Train one LoRA (or content and semantic) for each dataset of a plan.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml, overrides.yaml and, for each dataset, a folder with
            metrics.jsonl, the LoRA files, preview.png and report.json.
        words: the overrides that the configuration was composed from.
        stopping: tells when to save and stop.

    Returns:
        The semantic LoRA's file by dataset name.

    Raises:
        ValueError: another process works in the folder, or what is there is of another run.
        MemoryError: says which keys need less.
    """
    with locked(folder):
        begin(folder, names=plan.pairs, resolved=plan.resolved, words=words, resume=plan.resume)
        for note in plan.notes:
            log.warning("%s", note)
        with memory_advice(_less_memory(plan)):
            trained = {
                name: _train_one(plan, folder / name, pairs, stopping)
                for name, pairs in plan.pairs.items()
            }
    for name, path in trained.items():
        log.info("%s: lora=%s", name, pasteable(path))
    return trained


def _train_one(
    plan: TrainPlan,
    place: Path,
    pairs: Sequence[Pair] | Sequence[Contrast],
    stopping: Stopping | None,
) -> Path:
    """Train on one dataset, as far as that has not been done; return the semantic LoRA's file."""
    name = place.name
    files = _finished(plan, place) if plan.resume else None
    wanted = {"preview.png": plan.preview, "report.json": plan.report}
    if files and all((place / left).exists() for left, asked in wanted.items() if asked):
        log.info("%s: finished already", name)
        return files[plan.method.roles[-1]]
    flux = open_model(plan.model, device=plan.device, precision=plan.precision)
    title = f"{plan.method_name}-{name}"
    run: Run = Several(
        [
            JsonLines(place / "metrics.jsonl", resume=plan.resume),
            plan.tracker.open(title, place, plan.resolved, resume=plan.resume),
        ]
    )
    try:
        started = time.perf_counter()
        files = files or fit(
            flux=flux,
            method=plan.method,
            pairs=pairs,
            settings=Settings(**plan.settings),
            folder=place,
            run=run,
            metadata={
                "base_model": plan.model.name,
                "method": plan.method_name,
                "dataset": name,
                "config": plan.resolved,
            },
            accelerator=make_accelerator(plan.device),
            name=name,
            resume=plan.resume,
            stopping=stopping,
        )
        if plan.preview or plan.report:
            seconds = time.perf_counter() - started
            finish(flux, plan, files, place=place, run=run, seconds=seconds)
    finally:
        run.finish()
    return files[plan.method.roles[-1]]


def _finished(plan: TrainPlan, place: Path) -> dict[str, Path] | None:
    """Return the final LoRA files of an earlier run if it came to its end.

    Raises:
        ValueError: one of them is damaged.
    """
    files = {role: place / f"{role}.safetensors" for role in plan.method.roles}
    if has_checkpoints(place / CHECKPOINTS) or not all(path.exists() for path in files.values()):
        return None
    for path in files.values():
        inspect_lora(path)
    remove_checkpoints(place / CHECKPOINTS)
    return files


def _less_memory(plan: TrainPlan) -> str:
    """Name the keys by which this job would need less memory."""
    keys = {
        "gradient_checkpointing=true": not plan.settings["gradient_checkpointing"],
        "batch_terms=false": plan.settings["batch_terms"],
        "a smaller resolution": True,
    }
    return ", ".join(key for key, helps in keys.items() if helps)


def finish(
    flux: Flux,
    plan: TrainPlan,
    files: Mapping[str, Path],
    *,
    place: Path,
    run: Run,
    seconds: float,
) -> None:
    """Render a few scales of a trained LoRA: for the preview, for the report, or for both.

    Args:
        flux: the model, without LoRAs.
        plan: what was trained.
        files: the LoRAs by role.
        place: receives preview.png and report.json.
        run: receives both.
        seconds: that training took; the report takes at most a tenth of them.
    """
    settings = Settings(**plan.settings)
    loras = {role: read_lora(path) for role, path in files.items()}
    edits = loras[plan.method.roles[-1]]
    # The plan's own number of steps, the model's usual share of them without LoRA.
    skip = plan.model.skip * settings.num_inference_steps // plan.model.num_inference_steps

    def shoot(seeds: Sequence[int]) -> list[list[Sample]]:
        samples = generate(
            flux,
            sliders=[Slider(lora=edits, scales=PREVIEW_SCALES)],
            prompts=[plan.model.prompt],
            seeds=seeds,
            skip=skip,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            resolution=settings.resolution,
        )
        return list(_rows(list(samples)).values())

    first = PREVIEW_LANES if plan.preview else 1
    started = time.perf_counter()
    lanes = shoot(range(first))
    spent = time.perf_counter() - started
    more = further_lanes(spent, first, seconds) if plan.report else 0
    if more:
        lanes += shoot(range(first, first + more))
    if plan.preview:
        shown = [sample for lane in lanes[:PREVIEW_LANES] for sample in lane]
        sheet = draw_sheet(shown, title=f"{place.name}: {plan.method_name}")
        save_png(sheet, place / "preview.png", {"lora": edits.path.name})
        run.image("preview", place / "preview.png", settings.steps)
    if plan.report:
        readers, missing = open_readers(
            {"probe": AttributeProbe()},
            model=locate(plan.model.path),
            resolution=settings.resolution,
            device=str(flux.device),
        )
        known = origin(edits.metadata)
        close(
            subject=Subject(
                lora=edits,
                label=plan.method_name,
                dataset=place.name,
                pairs=[pair for pair in plan.pairs[place.name] if isinstance(pair, Pair)],
                attribute=known.attribute if known else None,
                skip=skip,
            ),
            updates={role: update_of(lora, flux) for role, lora in loras.items()},
            lanes=lanes,
            resolution=settings.resolution,
            readers=readers,
            missing=missing,
            folder=place,
            run=run,
            step=settings.steps,
        )


def run_sampling(plan: GenPlan, folder: Path) -> Path:
    """Render the images, the sheet and the animations of a plan.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml, images/, sheet.png and, if asked for, animations/.

    Returns:
        The contact sheet.
    """
    for note in plan.notes:
        log.warning("%s", note)
    # Small files first: a bad LoRA is refused before the model is loaded.
    sliders = [
        Slider(lora=read_lora(entry.path), scales=entry.scales, skip=entry.skip, unit=unit)
        for entry, unit in zip(plan.sliders, plan.units, strict=True)
    ]
    advice = "a smaller batch_size" if plan.batch_size > 1 else "a smaller resolution"
    with locked(folder), memory_advice(advice):
        return _render(plan, folder, sliders)


def _render(plan: GenPlan, folder: Path, sliders: Sequence[Slider]) -> Path:
    """Render the images of a plan; see `run_sampling`."""
    asked = plan.prompts.values() if isinstance(plan.prompts, Mapping) else plan.prompts
    known = list(dict.fromkeys(asked))
    flux = open_model(plan.model, device=plan.device, precision=plan.precision)
    settings = {
        "model": plan.model.name,
        "model_path": plan.model.path,
        "skip": plan.skip,
        "num_inference_steps": plan.num_inference_steps,
        "guidance_scale": plan.guidance_scale,
        "resolution": plan.resolution,
        "precision": str(flux.dtype).removeprefix("torch."),
        "pairedit": pairedit.__version__,
    }
    samples: list[Sample] = []
    for sample in generate(
        flux,
        sliders=sliders,
        prompts=plan.prompts,
        seeds=plan.seeds,
        skip=plan.skip,
        num_inference_steps=plan.num_inference_steps,
        guidance_scale=plan.guidance_scale,
        resolution=plan.resolution,
        batch_size=plan.batch_size,
        edit=plan.edit,
    ):
        if not samples:
            # Not earlier: a LoRA that does not fit the model leaves an older run's files alone.
            write_yaml(folder / CONFIG, plan.resolved)
        name = file_name(sample, known.index(sample.prompt))
        save_png(sample.image, folder / "images" / name, metadata(sample, sliders, settings))
        samples.append(sample)
    if plan.across < len(samples) // len(_rows(samples)):
        sheet = draw_grid(samples, [slider.name for slider in sliders], across=plan.across)
    else:
        title = " + ".join(slider.name for slider in sliders) or plan.model.name
        sheet = draw_sheet(samples, title=title)
    save_png(sheet, folder / "sheet.png", {"pairedit": settings["pairedit"]})
    if plan.animate:
        for (prompt, seed), row in _rows(samples).items():
            name = f"prompt{known.index(prompt):02d}_seed{seed:06d}.webp"
            images = [sample.image for sample in sorted(row, key=lambda sample: sample.scales)]
            animate(images, folder / "animations" / name)
        log.info("animations: %s", (folder / "animations").resolve())
    log.info("images: %s", (folder / "images").resolve())
    log.info("sheet: %s", (folder / "sheet.png").resolve())
    return folder / "sheet.png"


def open_model(model: Model, *, device: str, precision: str) -> Flux:
    """Load a base model; the next job of this process that names the same one gets it again."""
    chosen = make_accelerator(device).device.type
    return load(
        str(folder) if (folder := locate(model.path)).is_dir() else model.path,
        device=chosen,
        precision=choose_precision(precision, device=chosen, preferred=model.precision),
        max_sequence_length=model.max_sequence_length,
    )


def draw_sheet(samples: Sequence[Sample], *, title: str) -> Any:
    """Arrange samples as a captioned sheet: a row for each prompt and seed, a column a scale."""
    rows = _rows(samples)
    first = next(iter(rows.values()))
    return contact_sheet(
        [[sample.image for sample in row] for row in rows.values()],
        _lane_labels(rows),
        [column_label(sample.scales) for sample in first],
        _titled(title, rows),
    )


def draw_grid(samples: Sequence[Sample], names: Sequence[str], *, across: int) -> Any:
    """Arrange the samples of two sliders as a captioned sheet: one across, the other down."""
    rows = _rows(samples)
    lines = [
        (lane, cells[start : start + across])
        for lane, cells in zip(_lane_labels(rows), rows.values(), strict=True)
        for start in range(0, len(cells), across)
    ]
    first = lines[0][1]
    return contact_sheet(
        [[sample.image for sample in line] for _, line in lines],
        [f"{lane} · {names[1]} {line[0].scales[1]:g}" for lane, line in lines],
        [f"{names[0]} {sample.scales[0]:g}" for sample in first],
        _titled(" x ".join(names), rows),
    )


def _lane_labels(rows: Mapping[tuple[str, int], Any]) -> list[str]:
    """Caption each prompt and seed, the prompt only where there are several."""
    several = len({prompt for prompt, _ in rows}) > 1
    return [f"{prompt} · seed {seed}" if several else f"seed {seed}" for prompt, seed in rows]


def _titled(title: str, rows: Mapping[tuple[str, int], Any]) -> str:
    """Add the prompt to a title, where there is only one."""
    prompts = {prompt for prompt, _ in rows}
    return f"{title} · {prompts.pop()}" if len(prompts) == 1 else title


def _rows(samples: Sequence[Sample]) -> dict[tuple[str, int], list[Sample]]:
    """Group samples, ordered as `generate` yields them, by prompt and seed."""
    grouped = groupby(samples, key=lambda sample: (sample.prompt, sample.seed))
    return {key: list(row) for key, row in grouped}

"""Own one job from its checked plan to the files it leaves behind."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

import pairedit
from pairedit.closing import close, further_lanes, update_of
from pairedit.config import Model, locate
from pairedit.devices import choose_precision, make_accelerator
from pairedit.evalplan import origin
from pairedit.evaluate import Subject, open_readers
from pairedit.flux import Flux, load
from pairedit.lora import read_lora
from pairedit.plan import GenPlan, TrainPlan
from pairedit.readers import AttributeProbe
from pairedit.sample import Sample, Slider, column_label, file_name, generate, metadata
from pairedit.sheets import animate, contact_sheet, save_png
from pairedit.tracking import JsonLines, Run, Several
from pairedit.train import Settings, fit

log = logging.getLogger(__name__)

PREVIEW_SCALES = (0.0, 0.2, 0.4, 0.6)
PREVIEW_LANES = 2  # seeds 0 and 1


def run_training(plan: TrainPlan, folder: Path) -> dict[str, Path]:
    """Train one LoRA (or content and semantic) for each dataset of a plan.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml and, for each dataset, a folder with metrics.jsonl, the LoRA
            files, preview.png and report.json.

    Returns:
        The semantic LoRA's file by dataset name.
    """
    for note in plan.notes:
        log.warning("%s", note)
    write_config(folder, plan.resolved)
    flux = open_model(plan.model, device=plan.device, precision=plan.precision)
    accelerator = make_accelerator(plan.device)
    settings = Settings(**plan.settings)
    trained: dict[str, Path] = {}
    for name, pairs in plan.pairs.items():
        place = folder / name
        run: Run = Several(
            [
                JsonLines(place / "metrics.jsonl"),
                plan.tracker.open(f"{plan.method_name}-{name}", place, plan.resolved),
            ]
        )
        try:
            started = time.perf_counter()
            files = fit(
                flux=flux,
                method=plan.method,
                pairs=pairs,
                settings=settings,
                folder=place,
                run=run,
                metadata={
                    "base_model": plan.model.name,
                    "method": plan.method_name,
                    "dataset": name,
                    "config": plan.resolved,
                },
                accelerator=accelerator,
                name=name,
            )
            trained[name] = files[plan.method.roles[-1]]
            if plan.preview or plan.report:
                seconds = time.perf_counter() - started
                finish(flux, plan, files, place=place, run=run, seconds=seconds)
        finally:
            run.finish()
    for name, path in trained.items():
        log.info("%s: lora=%s", name, pasteable(path))
    return trained


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
                pairs=plan.pairs[place.name],
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
        Slider(lora=read_lora(path), scales=scales, unit=unit)
        for (path, scales), unit in zip(plan.sliders, plan.units, strict=True)
    ]
    write_config(folder, plan.resolved)
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
        name = file_name(sample, plan.prompts.index(sample.prompt))
        save_png(sample.image, folder / "images" / name, metadata(sample, sliders, settings))
        samples.append(sample)
    title = " + ".join(slider.lora.path.parent.name for slider in sliders) or plan.model.name
    save_png(
        draw_sheet(samples, title=title), folder / "sheet.png", {"pairedit": settings["pairedit"]}
    )
    if plan.animate:
        for (prompt, seed), row in _rows(samples).items():
            name = f"prompt{plan.prompts.index(prompt):02d}_seed{seed:06d}.webp"
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


def write_config(folder: Path, resolved: Mapping[str, Any]) -> None:
    """Write the resolved configuration of a job as config.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def draw_sheet(samples: Sequence[Sample], *, title: str) -> Any:
    """Arrange samples as a captioned sheet: a row for each prompt and seed, a column a scale."""
    rows = _rows(samples)
    several = len({prompt for prompt, _ in rows}) > 1
    first = next(iter(rows.values()))
    return contact_sheet(
        [[sample.image for sample in row] for row in rows.values()],
        [f"{prompt} · seed {seed}" if several else f"seed {seed}" for prompt, seed in rows],
        [column_label(sample.scales) for sample in first],
        title if several else f"{title} · {first[0].prompt}",
    )


def pasteable(path: Path) -> str:
    """Write an absolute path so that Hydra takes it as a value, within shell quotes if need be."""
    text = str(path.resolve())
    if re.fullmatch(r"[\w/.+-]+", text, flags=re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("'", "'\\''")
    return f"'\"{escaped}\"'"


def _rows(samples: Sequence[Sample]) -> dict[tuple[str, int], list[Sample]]:
    """Group samples, ordered as `generate` yields them, by prompt and seed."""
    grouped = groupby(samples, key=lambda sample: (sample.prompt, sample.seed))
    return {key: list(row) for key, row in grouped}

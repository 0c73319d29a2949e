"""Own one job from its checked plan to the files it leaves behind."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

import pairedit
from pairedit.config import Model, locate
from pairedit.data import load_image
from pairedit.devices import choose_precision, make_accelerator
from pairedit.edits import RealImage
from pairedit.flux import Flux, load
from pairedit.lora import read_lora
from pairedit.methods import CONTENT
from pairedit.photos import Photo
from pairedit.plan import GenPlan, TrainPlan
from pairedit.sample import Sample, Slider, column_label, file_name, generate, lane_name, metadata
from pairedit.sheets import animate, contact_sheet, save_png
from pairedit.tracking import JsonLines, Run, Several
from pairedit.train import Settings, fit

log = logging.getLogger(__name__)

PREVIEW_SCALES = (0.0, 0.2, 0.4, 0.6)
PREVIEW_SEEDS = (0, 1)


def run_training(plan: TrainPlan, folder: Path) -> dict[str, Path]:
    """Train one LoRA (or content and semantic) for each dataset of a plan.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml and, for each dataset, a folder with metrics.jsonl, the LoRA
            files and preview.png.

    Returns:
        The LoRA to sample with, by dataset name: the semantic one, or of an image its content.
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
            if plan.preview:
                run.image("preview", preview(flux, plan, trained[name]), settings.steps)
        finally:
            run.finish()
    for name, path in trained.items():
        key = "content_lora" if plan.method.roles[-1] == CONTENT else "lora"
        log.info("%s: %s=%s", name, key, pasteable(path))
    return trained


def preview(flux: Flux, plan: TrainPlan, path: Path) -> Path:
    """Render a few scales of a trained LoRA beside its file.

    Returns:
        The sheet, preview.png.
    """
    settings = Settings(**plan.settings)
    lora = read_lora(path)
    alone = plan.method.roles[-1] == CONTENT
    if alone:
        # What was learnt is one image: show it beside what the LoRA makes of two seeds.
        (pair,) = plan.pairs[path.parent.name]
        image = load_image(pair.source, settings.resolution)
        photos = [Photo(path=pair.source, image=image, content=lora)]
    samples = generate(
        flux,
        sliders=[] if alone else [Slider(lora=lora, scales=PREVIEW_SCALES)],
        prompts=["" if alone else plan.model.prompt],
        seeds=PREVIEW_SEEDS,
        edit=RealImage(inversion="lora") if alone else None,
        photos=photos if alone else (),
        # The plan's own number of steps, the model's usual share of them without LoRA.
        skip=plan.model.skip * settings.num_inference_steps // plan.model.num_inference_steps,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        resolution=settings.resolution,
    )
    sheet = draw_sheet(list(samples), title=f"{path.parent.name}: {plan.method_name}")
    save_png(sheet, path.parent / "preview.png", {"lora": path.name})
    return path.parent / "preview.png"


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
    sliders = [Slider(lora=read_lora(path), scales=scales) for path, scales in plan.sliders]
    photos = [
        Photo(
            path=path,
            image=load_image(path, plan.resolution),
            content=content and read_lora(content),
        )
        for path, content in plan.photos
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
    if photos:
        settings |= asdict(plan.edit)
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
        photos=photos,
    ):
        name = file_name(sample, plan.prompts.index(sample.prompt))
        save_png(sample.image, folder / "images" / name, metadata(sample, sliders, settings))
        samples.append(sample)
    title = " + ".join(slider.lora.path.parent.name for slider in sliders) or plan.model.name
    save_png(
        draw_sheet(samples, title=title), folder / "sheet.png", {"pairedit": settings["pairedit"]}
    )
    if plan.animate:
        for row in _rows(samples):
            name = f"{lane_name(row[0], plan.prompts.index(row[0].prompt))}.webp"
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
    """Arrange samples as a captioned sheet: a row for each lane, a column a scale.

    Photographs stand in a first column of their own.
    """
    rows = _rows(samples)
    first = rows[0]
    prompts = {row[0].prompt for row in rows}
    labels = [column_label(sample.scales) for sample in first]
    if first[0].photo is not None:
        labels = [
            "photograph",
            *("reconstruction" if label == "base" else label for label in labels),
        ]
    return contact_sheet(
        [
            [*([row[0].photo.image] if row[0].photo else []), *(sample.image for sample in row)]
            for row in rows
        ],
        [_row_label(row[0], several=len(prompts) > 1) for row in rows],
        labels,
        " · ".join([title, *(prompts if len(prompts) == 1 and "" not in prompts else ())]),
    )


def _row_label(sample: Sample, *, several: bool) -> str:
    """Write what tells a row from the others."""
    parts = [sample.prompt] if several else []
    if sample.photo is not None:
        parts.append(sample.photo.name)
    if sample.seed is not None:
        parts.append(f"seed {sample.seed}")
    return " · ".join(parts)


def pasteable(path: Path) -> str:
    """Write an absolute path so that Hydra takes it as a value, within shell quotes if need be."""
    text = str(path.resolve())
    if re.fullmatch(r"[\w/.+-]+", text, flags=re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("'", "'\\''")
    return f"'\"{escaped}\"'"


def _rows(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Group samples, ordered as `generate` yields them, by lane."""
    grouped = groupby(samples, key=lambda sample: lane_name(sample, 0) + sample.prompt)
    return [list(row) for _, row in grouped]

"""Own an evaluation job: from a checked plan to report.html, eval.json, eval.csv, curves.png."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from pairedit.bases.base import Base
from pairedit.data.names import plain_names
from pairedit.files import locate, replacing, write_yaml
from pairedit.jobs.noting import calibrate, settle
from pairedit.jobs.opening import at_work, open_model
from pairedit.lora.file import LoraFile
from pairedit.lora.several import LoraFiles
from pairedit.measure.curves import draw_curves, stacked
from pairedit.measure.evaluate import Result, Setting, evaluate, render
from pairedit.measure.families import comparisons, leading
from pairedit.measure.readers import open_readers
from pairedit.measure.report import webp, write_report
from pairedit.measure.subject import Subject
from pairedit.measure.table import comparable, heads, named, numbers, table, text_table, to_json
from pairedit.measure.tidy import write_tidy
from pairedit.measure.verdict import NAME_IT
from pairedit.pictures.png import read_metadata, save_png
from pairedit.pictures.sheet import contact_sheet
from pairedit.plan.eval import EvalPlan
from pairedit.runs.folder import CONFIG

log = logging.getLogger(__name__)

SHOWN = 4  # lanes on a sheet of sliders side by side
SHOWN_ALONE = 8  # lanes on the sheet of a single slider
MANY = 24  # sliders, whose pictures are made smaller so that a browser opens the report
SMALL = (1000, 1000)  # px at most
SHOWN_ROWS = 3  # lanes on the sheets of every slider's scales


def run_evaluation(plan: EvalPlan, folder: Path) -> Path:
    """Measure the sliders of a plan and compare those of one edit.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml, report.html, eval.json, eval.csv, curves.png and sheets/.

    Returns:
        The report.
    """
    for note in plan.notes:
        log.warning("%s", note)
    # Small files first: a bad LoRA is refused before the model is loaded.
    names = plan.model.names
    loras = LoraFiles([subject.path for subject in plan.subjects], names)
    with at_work(plan, folder):
        return _measure(plan, folder, loras)


def _measure(plan: EvalPlan, folder: Path, loras: Mapping[Path, LoraFile]) -> Path:
    """Measure and compare the sliders of a plan; see `run_evaluation`."""
    base = open_model(plan.model, device=plan.device, hardware=plan.hardware, changes=plan.changes)
    setting = Setting(
        prompts=plan.prompts,
        seeds=plan.seeds,
        rendering=plan.rendering,
    )
    results = measure_all(plan, base, loras, setting, keep=_keep(plan.subjects))
    groups = by_edit(results)
    sheets = {
        edit: sheet_of_scales(group[0], SHOWN_ALONE, edit)
        if len(group) == 1
        else sheet_side_by_side(base, leading(group), loras, setting)
        for edit, group in groups.items()
    }
    # Not earlier: a LoRA that does not fit the model leaves an older run's files alone.
    write_yaml(folder / CONFIG, plan.resolved)
    settings = {
        key: plan.resolved[key]
        for key in ("num_inference_steps", "guidance_scale", "resolution", "match")
    }
    if plan.rendering.negative_prompt:
        settings["negative_prompt"] = plan.rendering.negative_prompt
    settings |= {"model": plan.model.name, "seeds": plan.seeds, "prompts": plan.prompts}
    _write(folder, groups, sheets, settings, plan.notes)
    if plan.calibrate:
        sigmas = base.sigmas(plan.rendering.size, plan.rendering.num_inference_steps)
        for result in results:
            calibrate(result, sigmas, settings)
    track(plan, folder, results, groups)
    _say(results)
    log.info("report: %s", (folder / "report.html").resolve())
    return folder / "report.html"


def _keep(subjects: Sequence[Subject]) -> Callable[[Result], Result]:
    """Name the images of a slider that are kept after it is measured: the report shows them."""
    count = Counter(subject.dataset for subject in subjects)

    def keep(result: Result) -> Result:
        alone = count[result.subject.dataset] == 1
        kept = {
            (lane, k): sample
            for (lane, k), sample in result.samples.items()
            if lane < (SHOWN_ALONE if alone else SHOWN) and (alone or k == result.seen.zero)
        }
        strip = sheet_of_scales(result, SHOWN_ROWS)
        if len(subjects) > MANY:
            strip.thumbnail(SMALL)
        return replace(result, samples=kept, strip=webp(strip))

    return keep


def measure_all(
    plan: EvalPlan,
    base: Base,
    loras: Mapping[Path, LoraFile],
    setting: Setting,
    keep: Callable[[Result], Result] = lambda result: result,
) -> list[Result]:
    """Open the readers, find how each slider is best used, render the sliders and measure them."""
    readers, missing = open_readers(
        plan.readers,
        model=locate(plan.model.path),
        size=plan.rendering.size,
        device=str(base.device),
        group="readers.",
    )
    for name, why in missing.items():
        log.info("not measured by %s: %s", name, why)
    subjects = [settle(base, s, loras[s.path], setting, readers, plan) for s in plan.subjects]
    return evaluate(
        base,
        subjects,
        loras,
        scales=plan.scales,
        setting=setting,
        readers=readers,
        missing=missing,
        match=plan.match,
        keep=keep,
    )


def _write(
    folder: Path,
    groups: Mapping[str, Sequence[Result]],
    sheets: Mapping[str, Image.Image],
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    """Write sheets/, curves.png, report.html and eval.json."""
    results = [result for group in groups.values() for result in group]
    _clear(folder)
    for edit, path in sheet_paths(folder, sheets).items():
        save_png(sheets[edit], path, {"edit": edit})
    curves = draw_curves(groups)
    save_png(stacked(curves), folder / "curves.png", {})
    write_report(
        folder / "report.html",
        groups,
        sheets=sheets,
        curves=curves,
        settings=settings,
        notes=notes,
    )
    write_tidy(results, folder / "eval.csv")
    with replacing(folder / "eval.json") as temporary:
        text = json.dumps(to_json(results, settings), indent=1, ensure_ascii=False)
        temporary.write_text(text, encoding="utf-8")


def _say(results: Sequence[Result]) -> None:
    """Log the table, and what to do about sliders that do not work."""
    log.info("\n%s\n", text_table(heads(), table(results)))
    for text in comparisons(results):
        log.info("%s", text)
    for result in results:
        name = f"{result.subject.label} on {result.subject.dataset}"
        if result.seen.guessed:
            log.warning("%s: measured by %s; %s", name, named(result.seen), NAME_IT)
        if result.verdict.advice:
            log.warning("%s: %s, %s", name, result.verdict.name, result.verdict.advice)


def by_edit(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Put the results of one edit together, in the order they come."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.subject.dataset, []).append(result)
    return groups


def sheet_of_scales(result: Result, lanes: int, title: str | None = None) -> Image.Image:
    """Show one slider at every scale."""
    seen = result.seen
    return _sheet(
        [
            [result.samples[lane, k].image for k in range(len(seen.scales))]
            for lane in range(min(lanes, len(seen.distance)))
        ],
        result,
        [f"{scale:g}" for scale in seen.scales],
        title,
    )


def sheet_side_by_side(
    base: Base, group: Sequence[Result], loras: Mapping[Path, LoraFile], setting: Setting
) -> Image.Image:
    """Show the sliders of one edit at matched strength, rendered at exactly that scale.

    Args:
        base: the model, without LoRAs.
        group: results of one edit, on the same lanes.
        loras: their files, as read, by path.
        setting: how they were rendered.
    """
    few = replace(setting, seeds=setting.seeds[:SHOWN], prompts=setting.prompts[:1])
    places = [comparable(result) for result in group]
    scales = [[scale] for scale, _ in places]
    columns: list[list[Image.Image]] = [[] for _ in group]
    subjects = [result.subject for result in group]
    for owners, sample in render(base, subjects, loras, scales, few):
        columns[owners[0]].append(sample.image)
    first = group[0]
    bases = [first.samples[lane, first.seen.zero].image for lane in range(len(few.seeds))]
    labels = [
        f"{result.subject.label}\n{scale:.2f}" + ("" if matched else " (weak)")
        for result, (scale, matched) in zip(group, places, strict=True)
    ]
    rows = [list(row) for row in zip(bases, *columns, strict=True)]
    return _sheet(rows, first, ["base", *labels], first.subject.dataset)


def _sheet(
    rows: Sequence[Sequence[Image.Image]],
    result: Result,
    heads: Sequence[str],
    title: str | None,
) -> Image.Image:
    """Lay rows of lanes out, named by their seeds."""
    labels = [f"seed {seed}" for seed, _ in result.lanes[: len(rows)]]
    return contact_sheet(rows, labels, heads, title)


def track(
    plan: EvalPlan, folder: Path, results: Sequence[Result], groups: Mapping[str, Any]
) -> None:
    """Log the table, its numbers and the pictures to the tracker."""
    run = plan.tracker.open(f"eval-{'+'.join(groups)}", folder, plan.resolved, resume=False)
    try:
        run.table("sliders", heads(), table(results), 0)
        run.log(
            0,
            {
                f"{result.subject.dataset}/{result.subject.label}/{measured.name}": value
                for result in results
                for measured, summary in result.summaries.items()
                if not summary.mean.ndim and (value := numbers(summary.mean)) is not None
            },
        )
        run.image("curves", folder / "curves.png", 0)
        for edit, path in sheet_paths(folder, groups).items():
            run.image(f"sheet/{edit}", path, 0)
    finally:
        run.finish()


def sheet_paths(folder: Path, edits: Iterable[str]) -> dict[str, Path]:
    """Name the file of each edit's sheet, so that its path needs no quotes."""
    edits = list(edits)
    names = zip(edits, plain_names(edits), strict=True)
    return {edit: folder / "sheets" / f"{name}.png" for edit, name in names}


def _clear(folder: Path) -> None:
    """Remove the sheets of an earlier evaluation; its other files are replaced anyway."""
    for path in (folder / "sheets").glob("*.png"):
        with suppress(ValueError):
            if "edit" in read_metadata(path):
                path.unlink()

"""Own an evaluation job: from a checked plan to report.html, eval.json, eval.csv, curves.png."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pairedit.files import json_text, replacing, write_yaml
from pairedit.jobs.apart import Spread, failed, here, measure_apart
from pairedit.jobs.bench import Bench, settings_of
from pairedit.jobs.noting import worth
from pairedit.jobs.opening import at_work
from pairedit.jobs.sheets import (
    SHOWN_ALONE,
    bands_of,
    by_edit,
    lanes_kept,
    sheet_of,
    sheet_of_scales,
    sheet_paths,
    shown_of,
    sized,
)
from pairedit.lora.file import LoraFile
from pairedit.lora.several import LoraFiles
from pairedit.measure.curves import draw_curves, stacked
from pairedit.measure.evaluate import Result
from pairedit.measure.families import comparisons, silence, uses
from pairedit.measure.findings import in_order
from pairedit.measure.grids import grid_png
from pairedit.measure.report import Plate, Shown, write_report
from pairedit.measure.table import heads, numbers, table, text_table, to_json
from pairedit.measure.tidy import write_tidy
from pairedit.measure.unit import is_sure, needed
from pairedit.measure.verdict import guess
from pairedit.pictures.png import read_metadata, save_png
from pairedit.plan.eval import EvalPlan
from pairedit.plan.further import about
from pairedit.runs.folder import CONFIG
from pairedit.runs.losses import read_losses
from pairedit.runs.resume import training_of

log = logging.getLogger(__name__)

SAID = 8  # sliders that have a line each on their scales; the table has all
ANEW = ("lora", "sweep", "seeds", "hydra")  # begin keys that an evaluation of more people sets
USUAL = {"probe", "clip", "dino", "lpips", "arcface"}  # readers that are tried unasked


def run_evaluation(plan: EvalPlan, folder: Path, spread: Spread | None = None) -> Path:
    """Measure the sliders of a plan and compare those of one edit.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml, report.html, eval.json, eval.csv, curves.png and sheets/; of
            a sweep also sliders/, from which it goes on.
        spread: does the parts of a sweep's evaluation; None does them here.

    Returns:
        The report.

    Raises:
        ValueError: sliders of a sweep could not be measured; the report is of the others.
    """
    for note in plan.notes:
        log.warning("%s", note)
    # Small files first: a bad LoRA is refused before the model is loaded.
    loras = LoraFiles([subject.path for subject in plan.subjects], plan.model.names)
    with at_work(plan, folder):
        if plan.swept is None:
            return _report(plan, folder, *_together(plan, loras))
        results, plates, failures = measure_apart(plan, folder, loras, spread or here(plan, loras))
        text = failed(failures, len(plan.subjects))
        report = _report(plan, folder, results, plates, [text] if failures else [])
    if failures:
        raise ValueError(text)
    return report


def _together(
    plan: EvalPlan, loras: Mapping[Path, LoraFile]
) -> tuple[list[Result], dict[str, Plate]]:
    """Measure sliders that share what they have in common, and draw those of each edit."""
    bench = Bench(plan, loras)
    count = Counter(subject.dataset for subject in plan.subjects)
    total = len(plan.subjects)
    results = bench.measure(
        plan.subjects,
        lambda found: shown_of(found, lanes_kept(count[found.subject.dataset], total)),
    )
    if total == 1 and plan.calibrate:
        results = [bench.surer(results[0])]
    groups = by_edit(results)
    plates = {e: bench.side_by_side(group) for e, group in groups.items() if len(group) > 1}
    bench.note(results)
    return results, plates


def _report(
    plan: EvalPlan,
    folder: Path,
    results: Sequence[Result],
    plates: Mapping[str, Plate],
    notes: Sequence[str] = (),
) -> Path:
    """Write all files of an evaluation, and say what was found.

    Args:
        plan: a checked configuration.
        folder: see `run_evaluation`.
        results: of all sliders.
        plates: by edit, where several of its sliders are side by side.
        notes: what the reader should know beside the notes of the plan.
    """
    groups = {edit: in_order(group) for edit, group in by_edit(sized(results)).items()}
    # Not earlier: a LoRA that does not fit the model leaves an older run's files alone.
    write_yaml(folder / CONFIG, plan.resolved)
    asked = set(plan.readers) != USUAL
    write_files(folder, groups, plates, settings_of(plan), [*plan.notes, *notes], asked)
    track(plan, folder, results, groups)
    _say(results, plan.words)
    log.info("report: %s", (folder / "report.html").resolve())
    return folder / "report.html"


def write_files(
    folder: Path,
    groups: Mapping[str, Sequence[Result]],
    plates: Mapping[str, Plate],
    settings: Mapping[str, Any],
    notes: Sequence[str],
    asked: bool = True,
) -> None:
    """Write sheets/, curves.png, report.html, eval.csv and eval.json."""
    results = [result for group in groups.values() for result in group]
    _clear(folder)
    for edit, path in sheet_paths(folder, groups).items():
        first = groups[edit][0]
        if edit in plates:
            sheet = sheet_of(plates[edit], edit, bands_of(first))
        else:
            sheet = sheet_of_scales(first, SHOWN_ALONE, edit)
        save_png(sheet, path, {"edit": edit})
    save_png(stacked(draw_curves(groups)), folder / "curves.png", {})
    shown = Shown(
        settings=settings,
        notes=notes,
        plates=plates,
        grids={edit: grid for edit, group in groups.items() if (grid := grid_png(group))},
        losses={r.subject.path: read_losses(r.subject.path.parent) for r in results},
        asked=asked,
    )
    write_report(folder / "report.html", groups, shown)
    write_tidy(results, folder / "eval.csv")
    with replacing(folder / "eval.json") as temporary:
        text = json_text(to_json(results, settings), indent=1, ensure_ascii=False)
        temporary.write_text(text, encoding="utf-8")


def _say(results: Sequence[Result], words: Sequence[str]) -> None:
    """Log the table, and what to do about sliders that do not work."""
    log.info("\n%s\n", text_table(heads(), table(results)))
    differences = list(comparisons(results))
    for text in (*differences, silence(results, differences), uses(results)):
        if text:
            log.info("%s", text)
    for result in results[:SAID]:
        if result.recommended or result.seen.pair_distance is not None:
            log.info("%s%s", worth(result), _more(result, words))
    for result in results:
        name = f"{result.subject.label} on {result.subject.dataset}"
        if result.seen.guessed:
            log.warning("%s: %s", name, guess(result.seen))
        lora = result.subject.path
        if advice := result.advise(about(lora, words), training_of(lora)):
            log.warning("%s: %s: %s", name, result.verdict.told, advice)


def _more(result: Result, words: Sequence[str]) -> str:
    """Say what makes the scale worth one pair surer; nothing where it is sure, or none is."""
    if result.recommended is None or is_sure(result.recommended):
        return ""
    count = needed(result.recommended)
    return (
        f"; about {count} people make that sure: "
        f"pairedit-eval {about(result.subject.path, words, ANEW)} "
        f"'seeds={{start: 1000, count: {count}}}'"
    )


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


def _clear(folder: Path) -> None:
    """Remove the sheets of an earlier evaluation; its other files are replaced anyway."""
    for path in (folder / "sheets").glob("*.png"):
        with suppress(ValueError):
            if "edit" in read_metadata(path):
                path.unlink()

"""Own an evaluation in parts: each slider is measured by itself, then those of an edit are drawn.

What is found about a slider stands in a folder of its own, so an evaluation that was broken off
measures only what is missing. Parts run here, one after the other, or wherever a launcher runs
them: a slider's numbers are the same, as no other is rendered beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

import pairedit
from pairedit.data.names import plain_names
from pairedit.jobs.bench import Bench
from pairedit.jobs.opening import at_work
from pairedit.jobs.sheets import by_edit, shown_of
from pairedit.lora.file import LoraFile
from pairedit.lora.several import LoraFiles
from pairedit.measure.evaluate import Result
from pairedit.measure.families import leading
from pairedit.measure.kept import NAME, keep, kept
from pairedit.measure.measures import MEASURES
from pairedit.measure.subject import Subject
from pairedit.pictures.png import save_png
from pairedit.plan.eval import EvalPlan
from pairedit.plan.wording import describe
from pairedit.problems import ITEM

log = logging.getLogger(__name__)

SLIDERS, EDITS = "sliders", "side-by-side"  # folders inside the evaluation's
SHEET = "sheet.png"
# Of a configuration: what does not change what is measured of one slider.
ASIDE = ("lora", "sweep", "tracker", "calibrate")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Say what one job does, in plain values: measure a slider, or draw the sliders of an edit."""

    edit: str | None = None  # to draw; None measures
    loras: Sequence[str]  # the sliders' files
    labels: Sequence[str]
    folders: Sequence[str]  # where what is found about each stands
    marks: Sequence[str]  # see `keep`
    alone: bool = False  # see `shown_of`


# Does parts, each in the folder of its name inside the one given; returns why by name of those
# that failed.
Spread = Callable[[Mapping[str, Part], Path], Mapping[str, str]]


def do_part(plan: EvalPlan, part: Part, folder: Path, bench: Bench | None = None) -> None:
    """Do one part of an evaluation.

    Args:
        plan: a checked configuration, with the part's sliders at least.
        part: what to do.
        folder: the part's own.
        bench: to work with; None opens one.
    """
    paths = [Path(path) for path in part.loras]
    known = {subject.path: subject for subject in plan.subjects}
    subjects = [replace(known[p], label=label) for p, label in zip(paths, part.labels, strict=True)]
    with at_work(plan, folder):
        bench = bench or _bench_again(plan, LoraFiles(paths, plan.model.names))
        if part.edit is None:
            (subject,) = subjects
            (result,) = bench.measure(subjects, lambda found: shown_of(found, alone=part.alone))
            bench.note([result])
            keep(result, folder, mark=part.marks[0], settled=subject.open)
            return
        found = zip(subjects, part.folders, part.marks, strict=True)
        group = [kept(subject, Path(place), mark) for subject, place, mark in found]
        save_png(bench.side_by_side([result for result in group if result]), folder / SHEET, {})


_readers: dict[str, Any] = {}  # of the last part of this process, by what was asked for


def _bench_again(plan: EvalPlan, loras: Mapping[Path, LoraFile]) -> Bench:
    """Return a bench with the readers of the last part, where they are the same: some take long."""
    bench = Bench(plan, loras)
    asked = [plan.resolved["readers"], plan.model.path, plan.rendering.size, str(bench.base.device)]
    key = json.dumps(asked, sort_keys=True, default=str)
    if key not in _readers:
        _readers.clear()
        _readers[key] = bench.readers
    bench.readers = _readers[key]
    return bench


def here(plan: EvalPlan, loras: Mapping[Path, LoraFile]) -> Spread:
    """Do parts in this process, one after the other, with one model."""
    bench = Bench(plan, loras)

    def spread(parts: Mapping[str, Part], folder: Path) -> Mapping[str, str]:
        failures = {}
        for number, (name, part) in enumerate(parts.items(), start=1):
            log.info("%d of %d: %s", number, len(parts), name)
            try:
                do_part(plan, part, folder / name, bench)
            except Exception as error:
                failures[name] = describe(error)
        return failures

    return spread


def measure_apart(
    plan: EvalPlan, folder: Path, loras: Mapping[Path, LoraFile], spread: Spread
) -> tuple[list[Result], dict[str, Image.Image], dict[str, str]]:
    """Measure every slider of a plan that was not measured before, and draw those of each edit.

    Args:
        plan: a checked configuration.
        folder: of the evaluation.
        loras: the sliders' files, as read, by path.
        spread: does the parts.

    Returns:
        What was found, a sheet for each edit of several sliders, and why by slider of those that
        failed.

    Raises:
        ValueError: none could be measured, or an edit could not be drawn.
    """
    parts = _parts(plan, folder, loras)
    subjects = dict(zip(parts, plan.subjects, strict=True))
    _clear(folder / SLIDERS, parts)
    found = {name: _kept(subjects[name], part) for name, part in parts.items()}
    waiting = {name: part for name, part in parts.items() if found[name] is None}
    if len(waiting) < len(parts):
        log.info("%d of %d sliders were measured before", len(parts) - len(waiting), len(parts))
    failures = dict(spread(waiting, folder / SLIDERS)) if waiting else {}
    for name, part in waiting.items():
        found[name] = _kept(subjects[name], part)
        if found[name] is None:
            failures.setdefault(name, f"left nothing in {folder / SLIDERS / name}")
    results = [result for name in parts if name not in failures and (result := found[name])]
    if not results:
        raise ValueError(failed(failures, len(parts)))
    places = {subjects[name].path: part for name, part in parts.items()}
    return results, _side_by_side(results, places, folder / EDITS, spread), failures


def failed(failures: Mapping[str, str], count: int) -> str:
    """Say which sliders could not be measured."""
    lines = "".join(f"{ITEM}{name}: {text}" for name, text in failures.items())
    return f"{len(failures)} of {count} sliders could not be measured:{lines}"


def _kept(subject: Subject, part: Part) -> Result | None:
    """Return what was found about a slider before; see `kept`."""
    return kept(subject, Path(part.folders[0]), part.marks[0])


def _parts(plan: EvalPlan, folder: Path, loras: Mapping[Path, LoraFile]) -> dict[str, Part]:
    """Say by name what there is to measure, in the plan's order."""
    count = Counter(subject.dataset for subject in plan.subjects)
    paths = [subject.path for subject in plan.subjects]
    # The job and the dataset; of a single training the dataset alone.
    names = plain_names(["_".join(path.relative_to(plan.swept).parts[:-1]) for path in paths])
    parts, sums = {}, cache(_digest)  # many sliders share their pairs
    for name, subject in zip(names, plan.subjects, strict=True):
        alone = count[subject.dataset] == 1
        parts[name] = Part(
            loras=[str(subject.path)],
            labels=[subject.label],
            folders=[str((folder / SLIDERS / name).absolute())],
            marks=[_mark(plan, subject, loras[subject.path].sha256, sums, alone)],
            alone=alone,
        )
    return parts


def _mark(
    plan: EvalPlan,
    subject: Subject,
    weights: str,
    digest: Callable[[Path], str],
    alone: bool,
) -> str:
    """Sum up all that a slider's result follows from, but for how it is used."""
    sides = [
        [path and digest(path) for path in (pair.source, pair.target, pair.mask)]
        for pair in subject.pairs
    ]
    asked = {key: value for key, value in plan.resolved.items() if key not in ASIDE}
    about = [pairedit.__version__, list(MEASURES), asked, weights, sides, subject.attribute]
    text = json.dumps([*about, alone], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    """Sum up one picture of a pair."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _side_by_side(
    results: Sequence[Result], parts: Mapping[Path, Part], folder: Path, spread: Spread
) -> dict[str, Image.Image]:
    """Draw the sliders of each edit that has several; see `measure_apart`."""
    groups = {
        edit: leading(group)
        for edit, group in by_edit(results).items()
        if not parts[group[0].subject.path].alone
    }
    names = dict(zip(plain_names(list(groups)), groups, strict=True))
    drawn = {
        name: Part(
            edit=edit,
            loras=[str(result.subject.path) for result in groups[edit]],
            labels=[result.subject.label for result in groups[edit]],
            folders=[parts[result.subject.path].folders[0] for result in groups[edit]],
            marks=[parts[result.subject.path].marks[0] for result in groups[edit]],
        )
        for name, edit in names.items()
    }
    try:
        if drawn and (failures := spread(drawn, folder)):
            lines = "".join(f"{ITEM}{names[name]}: {text}" for name, text in failures.items())
            raise ValueError(f"sliders could not be drawn side by side:{lines}")
        return {edit: _read(folder / name / SHEET) for name, edit in names.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _clear(folder: Path, names: Mapping[str, object]) -> None:
    """Remove what an earlier evaluation kept of sliders that are not asked for."""
    for path in folder.glob(f"*/{NAME}"):
        if path.parent.name not in names:
            shutil.rmtree(path.parent)

"""Tell what the jobs of the benchmark found: as tables, for a page, and in one file."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from edits.jobs import EDITS, jobs, results
from edits.slider import FIGURES, FIRST_SEED, FLOOR, MATCHED, MISSES

# What a table compares sliders by, each as its mean over the edits that all of them have.
COMPARED = ("off-target", "reach", "linearity", "monotonicity", "frontier")
# On pages a slider is calibrated once its scale is known; this is what that scale then does.
SAID = {"calibrated": "lands at"}

Key = tuple[str, str]  # recipe, use
Known = dict[Key, dict[str, list[dict]]]  # edit: a result for each seed
Cells = dict[Key, dict[str, float | None]]  # edit: the mean over the seeds


def found(args: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """Return what is known of all jobs, by name: from the work folder or one file of `keep`."""
    names = [job.name for job in jobs(args)]
    if not isinstance(args.known, Path):
        return {name: results(args.work / name) for name in names}
    kept = json.loads(args.known.read_text())["jobs"]
    return {name: kept.get(name, {}) for name in names}


def gathered(args: argparse.Namespace) -> Known:
    """Sort what is known of all jobs."""
    known: Known = {}
    by_name = found(args)
    for job in jobs(args):
        there = by_name[job.name]
        for use in args.uses:
            if use in there:
                trained = known.setdefault((job.recipe, use), {})
                trained.setdefault(job.edit, []).append(there[use])
    return known


def keep(args: argparse.Namespace, file: Path) -> None:
    """Write the figures of all jobs into one file, without the curves they were read off."""
    figures = {
        name: {
            use: {key: value for key, value in there[use].items() if key not in ("target", "off")}
            for use in args.uses
            if use in there
        }
        for name, there in found(args).items()
    }
    about = {"weights": args.work.name, "first seed": FIRST_SEED, "seeds": args.seeds}
    lines = [f"{json.dumps(name)}: {json.dumps(uses)}" for name, uses in figures.items() if uses]
    file.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(lines)
    file.write_text(f'{{"about": {json.dumps(about)}, "jobs": {{\n{body}\n}}}}\n')


def mean(results: Sequence[dict], name: str) -> float | None:
    """Average a figure over training seeds; None where one of them has none."""
    values = [each.get(name) for each in results]
    return None if None in values or not values else sum(values) / len(values)


def row(
    head: Sequence[str],
    cells: dict[str, float | None],
    edits: Sequence[str],
    averaged: Sequence[str] = EDITS,
) -> str:
    """Write one line: a cell for each edit, and the mean of some if none of them lacks one."""
    counted = [cells.get(edit) for edit in edits if edit in averaged]
    average = None if None in counted or not counted else sum(counted) / len(counted)
    shown = ["--" if v is None else f"{v:.3f}" for v in (*map(cells.get, edits), average)]
    return f"| {' | '.join([*head, *shown])} |"


def means(known: Known, name: str) -> Cells:
    """Average one figure of all that was trained and used, by edit."""
    return {
        key: {edit: mean(each, name) for edit, each in by_edit.items()}
        for key, by_edit in known.items()
    }


def common(cells: Cells) -> list[str]:
    """List the edits of which all have a figure."""
    return [e for e in EDITS if all(by_edit.get(e) is not None for by_edit in cells.values())]


def floors(known: Known) -> dict[str, float | None]:
    """Say how far a perfect edit is read to move others, by edit."""
    # The same for all sliders of three pairs, which come first.
    return {e: mean(each, FLOOR) for by in reversed(known.values()) for e, each in by.items()}


def words(recipe: str) -> str:
    """Say how a slider was trained."""
    method, steps, *more = recipe.split("-")
    pairs = "one pair" if "one" in more else "three pairs"
    return ", ".join([f"`{method}`", f"{steps} steps", pairs, *(m for m in more if m != "one")])


def readable(args: argparse.Namespace) -> str:
    """Write for a page: off-target changes by edit, and what sliders are compared by."""
    known, edits = gathered(args), args.edits
    off = means(known, "off-target")
    reached = common(off)
    rule = f"|---|---|{'---|' * (len(edits) + 1)}"
    lines = [f"| trained | used | {' | '.join(edits)} | mean of {len(reached)} |", rule]
    lines += [row((words(key[0]), key[1]), cells, edits, reached) for key, cells in off.items()]
    lines.append(row(("a perfect edit", "the floor"), floors(known), edits, reached))
    seeds = f"{len(args.training_seeds)} training seeds, {args.seeds} seeds from {FIRST_SEED}"
    lines += ["", f"Off-target change at +{MATCHED:g}; {seeds}. `--`: not reached by each of"]
    lines += [f"the training seeds. The mean is of {', '.join(reached)}, which all reach.", ""]
    return "\n".join([*lines, compared(known)]) + "\n"


def compared(known: Known) -> str:
    """Write a line for all that was trained and used: the mean of each figure over the edits."""
    by_name = {name: means(known, name) for name in COMPARED}
    heads = [f"{name}, mean of {len(common(cells))}" for name, cells in by_name.items()]
    lines = [f"| trained, used | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for key in known:
        shown = []
        for cells in by_name.values():
            values = [cells[key][edit] for edit in common(cells)]
            shown.append(f"{sum(values) / len(values):.3f}" if values else "--")
        lines.append(f"| {words(key[0])}, {key[1]} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def detailed(args: argparse.Namespace) -> str:
    """Write for a page: every figure but the off-target change, by edit."""
    known, edits = gathered(args), args.edits
    lines = [f"| figure | trained, used | {' | '.join(edits)} | mean |"]
    lines.append(f"|---|---|{'---|' * (len(edits) + 1)}")
    for name in (*FIGURES, "calibrated", *MISSES):
        cells = {key: by for key, by in means(known, name).items() if {*by.values()} != {None}}
        for key, by_edit in cells.items():
            head = (SAID.get(name, name), f"{words(key[0])}, {key[1]}")
            lines.append(row(head, by_edit, edits, common(cells)))
    said = "The mean is of the edits for which every row has the figure; `tilt` is in no mean."
    return "\n".join([*lines, "", said]) + "\n"


def table(args: argparse.Namespace) -> str:
    """Write what is known as Markdown."""
    known, edits = gathered(args), args.edits
    rule = f"|---|---|{'---|' * (len(edits) + 1)}"
    heads = f"{' | '.join(edits)} | mean |"
    off = means(known, "off-target")
    lines = [f"Off-target change at +{MATCHED:g}, {args.seeds} seeds from {FIRST_SEED}.", ""]
    lines += [f"| trained | used | {heads}", rule]
    lines += [row(key, cells, edits) for key, cells in off.items()]
    lines.append(row(("a perfect edit", FLOOR), floors(known), edits))
    lines += ["", f"| trained, used | figure | {heads}", rule]
    for (recipe, use), trained in known.items():
        for name in (*FIGURES, "calibrated", *MISSES):
            cells = {edit: mean(each, name) for edit, each in trained.items()}
            lines.append(row((f"{recipe}, {use}", SAID.get(name, name)), cells, edits))
    lines += ["", "How sliders chose to be used, by training seed:", ""]
    lines += [
        f"- {recipe}, {edit}: {'; '.join(one['use'] for one in each)}"
        for (recipe, use), trained in known.items()
        if use == "chosen"
        for edit, each in trained.items()
    ]
    errors = [f"{name}: {there['error']}" for name, there in found(args).items()
              if "error" in there]  # fmt: skip
    done = sum(map(len, (each for trained in known.values() for each in trained.values())))
    asked = len(jobs(args)) * len(args.uses)
    return "\n".join([*lines, "", f"{done} of {asked} results.", *errors]) + "\n"

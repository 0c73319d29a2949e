"""Tell what the jobs of the benchmark found: as tables, for a page, and in one file."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from edits.jobs import EDITS, jobs, results
from edits.slider import FIGURES, FIRST_SEED, FLOOR, MATCHED, MISSES

# Of a page: whose figures are shown beside the table of off-target changes.
SHOWN = (("full-500", "plain"), ("graded-150", "chosen"), ("graded-150-one", "chosen"))
# On pages a slider is calibrated once its scale is known; this is what that scale then does.
SAID = {"calibrated": "lands at"}

Known = dict[tuple[str, str], dict[str, list[dict]]]  # (recipe, use): edit: a result for each seed


def gathered(args: argparse.Namespace) -> Known:
    """Sort what is known of all jobs."""
    known: Known = {}
    for job in jobs(args):
        there = results(args.work / job.name)
        for use in args.uses:
            if use in there:
                by_edit = known.setdefault((job.recipe, use), {})
                by_edit.setdefault(job.edit, []).append(there[use])
    return known


def keep(args: argparse.Namespace, file: Path) -> None:
    """Write the figures of all jobs into one file, without the curves they were read off."""
    found = {}
    for job in jobs(args):
        there = results(args.work / job.name)
        found[job.name] = {
            use: {key: value for key, value in there[use].items() if key not in ("target", "off")}
            for use in args.uses
            if use in there
        }
    about = {"weights": args.work.name, "first seed": FIRST_SEED, "seeds": args.seeds}
    lines = [f"{json.dumps(name)}: {json.dumps(uses)}" for name, uses in found.items() if uses]
    file.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(lines)
    file.write_text(f'{{"about": {json.dumps(about)}, "jobs": {{\n{body}\n}}}}\n')


def mean(found: Sequence[dict], name: str) -> float | None:
    """Average a figure over training seeds; None where one of them has none."""
    values = [each.get(name) for each in found]
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


def floors(known: Known) -> dict[str, float | None]:
    """Say how far a perfect edit is read to move others, by edit."""
    # The same for all sliders of three pairs, which come first.
    return {e: mean(found, FLOOR) for by in reversed(known.values()) for e, found in by.items()}


def words(recipe: str) -> str:
    """Say how a slider was trained."""
    method, steps, *more = recipe.split("-")
    pairs = "one pair" if "one" in more else "three pairs"
    return ", ".join([f"`{method}`", f"{steps} steps", pairs, *(m for m in more if m != "one")])


def readable(args: argparse.Namespace) -> str:
    """Write for a page: off-target changes of all, and the figures of a few."""
    known, edits = gathered(args), args.edits
    off = {
        key: {edit: mean(found, "off-target") for edit, found in by_edit.items()}
        for key, by_edit in known.items()
    }
    reached = [e for e in EDITS if all(cells.get(e) is not None for cells in off.values())]
    rule = f"|---|---|{'---|' * (len(edits) + 1)}"
    lines = [f"| trained | used | {' | '.join(edits)} | mean of {len(reached)} |", rule]
    lines += [row((words(key[0]), key[1]), cells, edits, reached) for key, cells in off.items()]
    lines.append(row(("a perfect edit", "the floor"), floors(known), edits, reached))
    seeds = f"{len(args.training_seeds)} training seeds, {args.seeds} seeds from {FIRST_SEED}"
    lines += ["", f"Off-target change at +{MATCHED:g}; {seeds}. `--`: not reached by each of"]
    lines += [f"the training seeds. The mean is of {', '.join(reached)}, which all reach.", ""]
    lines += [f"| trained, used | figure | {' | '.join(edits)} | mean of {len(EDITS)} |", rule]
    for recipe, use in SHOWN:
        by_edit = known.get((recipe, use), {})
        for name in (*FIGURES, "calibrated", *MISSES):
            cells = {edit: mean(found, name) for edit, found in by_edit.items()}
            if any(value is not None for value in cells.values()):
                lines.append(row((f"{words(recipe)}, {use}", SAID.get(name, name)), cells, edits))
    return "\n".join(lines) + "\n\n"


def table(args: argparse.Namespace) -> str:
    """Write what is known as Markdown."""
    known, edits = gathered(args), args.edits
    rule = f"|---|---|{'---|' * (len(edits) + 1)}"
    heads = f"{' | '.join(edits)} | mean |"
    off = {
        key: {edit: mean(found, "off-target") for edit, found in by_edit.items()}
        for key, by_edit in known.items()
    }
    lines = [f"Off-target change at +{MATCHED:g}, {args.seeds} seeds from {FIRST_SEED}.", ""]
    lines += [f"| trained | used | {heads}", rule]
    lines += [row(key, cells, edits) for key, cells in off.items()]
    lines.append(row(("a perfect edit", FLOOR), floors(known), edits))
    lines += ["", f"| trained, used | figure | {heads}", rule]
    for (recipe, use), by_edit in known.items():
        for name in (*FIGURES, "calibrated", *MISSES):
            cells = {edit: mean(found, name) for edit, found in by_edit.items()}
            lines.append(row((f"{recipe}, {use}", SAID.get(name, name)), cells, edits))
    lines += ["", "How sliders chose to be used, by training seed:", ""]
    lines += [
        f"- {recipe}, {edit}: {'; '.join(each['use'] for each in found)}"
        for (recipe, use), by_edit in known.items()
        if use == "chosen"
        for edit, found in by_edit.items()
    ]
    errors = [f"{job.name}: {there['error']}" for job in jobs(args)
              if "error" in (there := results(args.work / job.name))]  # fmt: skip
    done = sum(map(len, (found for by_edit in known.values() for found in by_edit.values())))
    asked = len(jobs(args)) * len(args.uses)
    return "\n".join([*lines, "", f"{done} of {asked} results.", *errors]) + "\n"

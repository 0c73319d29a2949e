"""Write the scale that is worth one pair, of every shipped edit, into the pages that name it.

    python scripts/worth_table.py [--write]

The figures are those of the newest file in benchmarks/results/edits/, which edits_benchmark.py
writes by --out: the mean over the trainings of the default method as each slider chose to be used.
Nothing is trained or measured here.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/edits"
PAGES = (ROOT / "docs/choose.md",)
MARK = "worth table"
RECIPE, USE = "graded-150", "chosen"  # what a user gets who asks for nothing
SCALE, MOST = "one pair at", "reach"


def results() -> Mapping[str, Mapping]:
    """Read the newest figures, and what they are about."""
    return json.loads(max(RESULTS.glob("*.json")).read_text())


def newest() -> Mapping[str, Mapping[str, Mapping[str, float | None]]]:
    """Return the figures by job and use."""
    return results()["jobs"]


def people() -> int:
    """Return how many people each slider was measured on."""
    return results()["about"]["seeds"]


def mean(values: Sequence[float | None]) -> float | None:
    """Average over trainings; None where one of them has no value."""
    return None if None in values or not values else sum(values) / len(values)


def text() -> str:
    """Write the table, edits in the order of their scales."""
    found: dict[str, list[Mapping[str, float | None]]] = {}
    for name, uses in newest().items():
        edit = name.removeprefix(f"{RECIPE}-").rsplit("-", 1)[0]
        if name.startswith(f"{RECIPE}-") and not edit.startswith("one-") and USE in uses:
            found.setdefault(edit, []).append(uses[USE])
    means = {
        edit: tuple(mean([one[key] for one in each]) for key in (SCALE, MOST))
        for edit, each in found.items()
    }
    heads = f"scale worth one pair, of {people()} people | of each training"
    lines = [f"| edit | {heads} | at most, in pairs' worth |"]
    lines.append("|---|---|---|---|")
    for edit, (scale, most) in sorted(means.items(), key=lambda one: one[1][0] or 9):
        shown = "not reached" if scale is None else f"{scale:.2f}"
        if scale is not None and most < 1:
            shown += ", the person is lost before"
        scales = sorted((one[SCALE] for one in found[edit]), key=lambda each: each or 9)
        each = ", ".join("–" if one is None else f"{one:.2f}" for one in scales)
        lines.append(f"| {edit} | {shown} | {each} | {most:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/choose.md")
    write = parser.parse_args().write
    print(text())
    if write:
        from tables import put  # imports torch

        for page in PAGES:
            put(page, MARK, text())


if __name__ == "__main__":
    main()

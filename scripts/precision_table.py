"""Compare sliders that were trained and rendered in two precisions, edit by edit.

    python scripts/edits_benchmark.py --methods full:500:bf16 full:500:fp8 ... --out FILE.json
    python scripts/precision_table.py FILE.json [--of fp8] [--to bf16] [--write PAGE]

A cell is the mean over training seeds in both precisions. It is bold where the two differ by more
than the trainings of the second do among each other, the largest less the smallest. Where nothing
differs but by chance, one in seven of three against three seeds does so. The last columns give the
mean over the edits, by training seed. `--write PAGE` puts it between the markers `precision` of a
page.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

FIGURES = ("off-target", "reach")
Pair = tuple[list[float], list[float]]  # by training seed, in one precision and the other
Found = dict[str, dict[int, float | None]]  # edit: training seed: a figure


def read(jobs: Mapping[str, Mapping], recipe: str, use: str, figure: str) -> Found:
    """Pick one figure of all trainings of a recipe."""
    found: Found = {}
    for name, uses in jobs.items():
        if name.startswith(f"{recipe}-") and use in uses:
            edit, _, seed = name.removeprefix(f"{recipe}-").rpartition("-")
            if seed.isdecimal() and "-" not in edit:
                found.setdefault(edit, {})[int(seed)] = uses[use][figure]
    return found


def recipes(jobs: Mapping[str, Mapping], precision: str) -> list[str]:
    """List what was trained in a precision, without naming it: method and steps."""
    names = (name.rsplit("-", 2)[0] for name in jobs)
    return list(
        dict.fromkeys(n.removesuffix(f"-{precision}") for n in names if n.endswith(f"-{precision}"))
    )


def common(first: Found, second: Found) -> dict[str, Pair]:
    """Keep edits that have the figure in both, by those training seeds that all edits have."""
    known = [set(one[edit]) for edit in first if edit in second for one in (first, second)]
    seeds = sorted(set.intersection(*known)) if known else []
    found = {}
    for edit in first if seeds else ():
        pair = tuple([one.get(edit, {}).get(seed) for seed in seeds] for one in (first, second))
        if all(value is not None for values in pair for value in values):
            found[edit] = pair
    return found


def mean(values: Sequence[float]) -> float:
    """Average."""
    return sum(values) / len(values)


def row(head: Sequence[str], pairs: Mapping[str, Pair], edits: Sequence[str]) -> str:
    """Write one line: all edits, then the mean of those that have both, by training seed."""
    cells = []
    for edit in edits:
        if edit not in pairs:
            cells.append("--")
            continue
        ours, theirs = pairs[edit]
        shown = f"{mean(ours):.3f} / {mean(theirs):.3f}"
        near = abs(mean(ours) - mean(theirs)) <= max(theirs) - min(theirs)
        cells.append(shown if near else f"**{shown}**")
    for number in (0, 1):
        by_seed = zip(*(pair[number] for pair in pairs.values()), strict=True)
        cells.append(" ".join(f"{mean(values):.4f}" for values in by_seed))
    return f"| {' | '.join([*head, *cells])} |"


def table(jobs: Mapping[str, Mapping], of: str, to: str) -> str:
    """Write all figures as Markdown, and in words how many lie within the spread."""
    edits = list(dict.fromkeys(name.rsplit("-", 2)[1] for name in jobs))
    ends = f"mean of these, {of}, by seed | the same, {to} |"
    lines = [f"| trained, used | {of} / {to} | {' | '.join(edits)} | {ends}"]
    lines.append(f"|---|---|{'---|' * (len(edits) + 2)}")
    inside = outside = 0
    uses = dict.fromkeys(use for job in jobs.values() for use in job)
    for recipe in recipes(jobs, of):
        for use in uses:
            for figure in FIGURES:
                first, second = (read(jobs, f"{recipe}-{p}", use, figure) for p in (of, to))
                pairs = common(first, second)
                if pairs:
                    line = row((f"{recipe}, {use}", figure), pairs, edits)
                    lines.append(line)
                    outside += line.count("**") // 2
                    inside += len(pairs)
    inside -= outside
    said = f"{inside} of {inside + outside} cells differ by no more than the trainings in {to} do."
    return "\n".join([*lines, "", said, ""])


def main() -> None:
    """Print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a file that edits_benchmark.py --out has written")
    parser.add_argument("--of", default="fp8", help="the precision that is judged")
    parser.add_argument("--to", default="bf16", help="the precision that it is compared with")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="PAGE",
        help="put the table between the markers `precision` of this page",
    )
    args = parser.parse_args()
    text = table(json.loads(args.file.read_text())["jobs"], args.of, args.to)
    print(text)
    if args.write:
        from tables import put  # imports torch

        put(args.write, "precision", text)


if __name__ == "__main__":
    main()

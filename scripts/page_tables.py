"""Write the tables that several pages share, from the committed results of the benchmarks.

    python scripts/page_tables.py [--write]

`cards`: which card trains and renders which base, how fast, in how much memory
(benchmarks/results/*.json, which benchmarks/full_size.py writes). `findings`: how much else a
slider changes (benchmarks/results/edits/, which scripts/edits_benchmark.py writes). Nothing is
trained or measured here. `figures` holds the same numbers for sentences: tests/test_figures.py
compares every page with them.
"""

import argparse
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from worth_table import mean, newest, people

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
README, DOCS = ROOT / "README.md", ROOT / "docs"
PAGES = {
    "cards table": (README, DOCS / "bases.md"),
    "findings table": (README, DOCS / "index.md", DOCS / "choose.md"),
}

# Memory of the card in GB, `model=`, `hardware=`, and the name of the base in the results. The
# card is the smallest common one on which hardware=auto takes this profile.
CARDS = (
    (8, "flux2-klein", "8gb", "flux2-klein"),
    (8, "flux-dev", "8gb", "flux1"),
    (12, "flux2-klein", "12gb", "flux2-klein"),
    (12, "flux-dev", "12gb", "flux1"),
    (24, "flux2-klein", "80gb", "flux2-klein"),
    (24, "flux-dev", "24gb", "flux1"),
    (24, "z-image", "24gb", "z-image"),
    (32, "z-image", "80gb", "z-image"),
    (48, "flux-dev", "80gb", "flux1"),
    (48, "flux2-klein-9b", "80gb", "flux2-klein-9b"),
)
# Of edits that every one of these reaches; what a user gets who asks for nothing comes second.
RECIPES = (
    ("published method (`full`)", "three", "full-500", "plain"),
    ("ours (`graded`, the default)", "three", "graded-150", "chosen"),
    ("ours", "one", "graded-150-one", "chosen"),
)
PUBLISHED = 500  # steps of the published method
APART = ("tilt",)  # no method learns to turn a head
UNKNOWN = "not measured"


@cache
def measured(base: str) -> Mapping[str, Mapping]:
    """Return the newest result of each variant of a base at full size."""
    runs = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    runs = [run for run in runs if run["size"] == "full" and run.get("base", "flux1") == base]
    found: dict[str, Mapping] = {}
    for run in sorted(runs, key=lambda run: run["date"]):
        for name, result in run["results"].items():
            if "error" not in result:
                found[name] = result | {"date": run["date"]}
    return found


def beside_naive() -> tuple[float, float]:
    """Return the seconds of a default run and of a naive step, of the newest run with both."""
    runs = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    runs.sort(key=lambda run: run["date"])
    both = [
        (results["train-80gb-eager"]["whole"], results["naive-train"]["seconds"]["median"])
        for results in (run["results"] for run in runs)
        if "whole" in results.get("train-80gb-eager", {})
        and "seconds" in results.get("naive-train", {})
    ]
    return both[-1]


def cell(base: str, variant: str) -> str:
    """Write the seconds of one variant, and the GiB that its process takes."""
    found = measured(base).get(variant)
    if found is None:
        return UNKNOWN
    seconds = found["seconds"]["median"]
    shown = f"{seconds:.2f}" if seconds < 1 else f"{seconds:.1f}"
    return f"{shown} s, {found['peak']['process']:.1f} GiB"


def doubt(card: int, base: str, profile: str) -> str:
    """Say that a profile took more memory than its card has, if it did."""
    taken = max(
        found["peak"]["process"]
        for name, found in measured(base).items()
        if name in (f"train-{profile}", f"sample-{profile}")
    )
    return ", may not fit" if taken > card else ""


def cards() -> str:
    """Write what runs on which card."""
    lines = [
        "| card | base and profile | a training step | four images |",
        "|---|---|---|---|",
    ]
    for card, model, profile, base in CARDS:
        cells = [cell(base, f"{work}-{profile}") for work in ("train", "sample")]
        if set(cells) == {UNKNOWN}:
            continue
        fits = doubt(card, base, profile)
        lines.append(f"| {card} GB{fits} | `{model}` `{profile}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def off_target() -> Mapping[str, Mapping[str, float | None]]:
    """Return the off-target change of each recipe by edit, and the floor, as means of trainings."""
    kinds = {(recipe, use): recipe for _, _, recipe, use in RECIPES}
    found: dict[str, dict[str, list[float | None]]] = {}
    for name, uses in newest().items():
        recipe, edit = split(name)
        for use, figures in uses.items():
            if (recipe, use) in kinds:
                by_edit = found.setdefault(recipe, {})
                by_edit.setdefault(edit, []).append(figures["off-target"])
                if recipe == RECIPES[1][2]:
                    found.setdefault("floor", {}).setdefault(edit, []).append(figures["floor"])
    return {recipe: {e: mean(v) for e, v in by.items()} for recipe, by in found.items()}


def split(name: str) -> tuple[str, str]:
    """Split the name of a job, such as graded-150-one-age-0, into recipe and edit."""
    method, steps, *rest, _ = name.split("-")
    one = ["one"] if rest[0] == "one" else []
    return "-".join([method, steps, *one]), "-".join(rest[len(one) :])


def compared() -> tuple[list[str], dict[str, float]]:
    """Return the edits that all recipes reach, and the mean over them by recipe."""
    by = off_target()
    rows = [by[recipe] for _, _, recipe, _ in RECIPES]
    edits = [e for e in rows[0] if e not in APART and all(row.get(e) is not None for row in rows)]
    return edits, {name: sum(row[e] for e in edits) / len(edits) for name, row in by.items()}


def findings() -> str:
    """Write how much else a slider changes."""
    _, means = compared()
    lines = [
        "| trained by | pairs | training steps | other attributes move by |",
        "|---|---|---|---|",
    ]
    for words, pairs, recipe, _ in RECIPES:
        lines.append(f"| {words} | {pairs} | {recipe.split('-')[1]} | {means[recipe]:.3f} |")
    lines.append(f"| a perfect edit would measure | | | {means['floor']:.3f} |")
    return "\n".join(lines) + "\n"


def trainings(recipe: str, use: str) -> list[list[float]]:
    """Return the off-target changes of the compared edits, a list for each training seed."""
    edits, _ = compared()
    found: dict[str, list[float]] = {}
    for name, uses in newest().items():
        if split(name)[0] == recipe and split(name)[1] in edits:
            found.setdefault(name.rsplit("-", 1)[1], []).append(uses[use]["off-target"])
    return [found[seed] for seed in sorted(found)]


def alike(recipe: str, use: str) -> float:
    """Return the mean off-target change of a recipe in a use that all methods can have."""
    found = [cost for each in trainings(recipe, use) for cost in each]
    return sum(found) / len(found)


def reach(recipe: str, use: str) -> str:
    """Return the largest effect in pairs' worth: the mean over all edits but those apart."""
    found = [
        uses[use]["reach"]
        for name, uses in newest().items()
        if split(name)[0] == recipe and split(name)[1] not in APART
    ]
    return f"{sum(found) / len(found):.2f}"


def spread() -> dict[str, str]:
    """Return how far trainings of one method are apart, and how often ours is below `full`."""
    found = {}
    by = {recipe: trainings(recipe, use) for _, _, recipe, use in RECIPES}
    for _, _, recipe, _ in RECIPES[:2]:
        means = [short(sum(each) / len(each)) for each in by[recipe]]
        found[f"by training, {recipe}"] = f"{min(means)} to {max(means)}"
    full, ours, one = (
        [cost for each in by[recipe] for cost in each] for _, _, recipe, _ in RECIPES
    )
    below = {sum(a < b for a, b in zip(each, full, strict=True)) for each in (ours, one)}
    return found | {"pairs of edit and seed where ours is below": " or ".join(map(str, below))}


def calibrated() -> str:
    """Return between which effects the scales lie that 12 seeds find to be worth one pair."""
    by: dict[str, list[float | None]] = {}
    for name, uses in newest().items():
        recipe, edit = split(name)
        if recipe == RECIPES[1][2]:
            by.setdefault(edit, []).append(uses[RECIPES[1][3]]["calibrated"])
    found = [effect for effects in by.values() if (effect := mean(effects)) is not None]
    return " to ".join(f"{end:.2f}".removeprefix("0") for end in (min(found), max(found)))


def short(value: float) -> str:
    """Write a change as the page of the method does: .0280."""
    return f"{value:.4f}".removeprefix("0")


def figures() -> dict[str, str]:
    """Return the numbers that sentences of the pages name, as they are written there."""
    edits, means = compared()
    full, ours, one = (means[recipe] for _, _, recipe, _ in RECIPES)
    flux1 = measured("flux1")
    whole, naive = beside_naive()
    same = {
        f"{use}, {words}": alike(recipe, use)
        for words, recipe in (("full", RECIPES[0][2]), ("ours", RECIPES[1][2]))
        for use in ("plain", "local")
    }
    same_use = {name: f"{value:.3f}" for name, value in same.items()}
    same_use |= {f"precisely, {name}": short(value) for name, value in same.items()}
    shared = spread() | same_use
    return shared | {
        "calibrated by 12 seeds": calibrated(),
        "reach, full": reach(*RECIPES[0][2:]),
        "reach, ours": reach(*RECIPES[1][2:]),
        "edits compared": str(len(edits)),
        "people of a figure": str(people()),
        "off-target, full": f"{full:.3f}",
        "off-target, ours": f"{ours:.3f}",
        "off-target, ours, one pair": f"{one:.3f}",
        "precisely, full": short(full),
        "precisely, ours": short(ours),
        "precisely, ours, one pair": short(one),
        "less beside the edit, %": f"{100 * (1 - ours / full):.0f}",
        "training step, flux-dev 80gb": f"{flux1['train-80gb']['seconds']['median']:.2g}",
        "four images, flux-dev 80gb": f"{flux1['sample-80gb']['seconds']['median']:.1f}",
        "training GiB, flux-dev 8gb": f"{flux1['train-8gb']['peak']['process']:.1f}",
        "default training, flux-dev": f"{flux1['train-80gb-eager']['whole']:.0f}",
        "default training beside the naive loop": f"{whole:.1f}",
        "published training, naive": f"{PUBLISHED * naive:.0f}",
        "default training, times faster": f"{PUBLISHED * naive / whole:.1f}",
    }


def text(mark: str) -> str:
    """Write the table of a mark."""
    return {"cards table": cards, "findings table": findings}[mark]()


def main() -> None:
    """Print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="put the tables into the pages that show them"
    )
    write = parser.parse_args().write
    for mark, pages in PAGES.items():
        print(text(mark))
        if write:
            from tables import put  # imports torch

            for page in pages:
                put(page, mark, text(mark))
    for name, value in figures().items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()

"""Write what full_size.py measured into docs/performance.md, between the markers of each base.

    python benchmarks/table.py [RESULT.json ...] [--page docs/performance.md]

Without names the newest run at full size that timed something counts; what it lacks comes from
the other runs on the same GPU, the newest first, and the page says so. A variant is compared with
the naive one of its own run, as that swings with the machine, or else with the newest before it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pairedit.measure.table import markdown_table

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
PUBLISHED = 500  # steps of the published method
KERNELS = 10  # rows of a profile
# What the project promises: meaning, value of the results, bound, and whether less is better.
TARGETS: tuple[tuple[str, Callable[[Mapping], float], float, bool], ...] = (
    ("training step, times faster", lambda r: _faster(r, _trained(r)), 4, False),
    ("training step, share of the ceiling", lambda r: r[_trained(r)]["share"], 0.55, False),
    ("training peak, GiB", lambda r: _peak(r[_trained(r)]), 31, True),
    ("whole 500-step run, s", lambda r: r["train-80gb-whole"]["whole"], 150, True),
    # Of so few steps nothing is compiled.
    ("whole default run of 150 steps, s", lambda r: r["train-80gb-eager"]["whole"], 60, True),
    # The naive steps alone: its start is left out.
    (
        "whole default run, times faster than 500 naive steps",
        lambda r: PUBLISHED * r["train-80gb-eager"]["naive"] / r["train-80gb-eager"]["whole"],
        5,
        False,
    ),
    ("row of images in bf16, times faster", lambda r: _faster(r, "sample-80gb"), 3, False),
    ("row of images in fp8, times faster", lambda r: _faster(r, "sample-fp8"), 4.5, False),
    ("training peak with hardware=24gb, GiB", lambda r: _peak(r["train-24gb"]), 22, True),
    ("training peak with hardware=12gb, GiB", lambda r: _peak(r["train-12gb"]), 11, True),
)


def _faster(results: Mapping[str, Any], name: str) -> float:
    """Return how many times faster than the naive variant of its kind; see `_with_naive`."""
    return results[name]["naive"] / results[name]["seconds"]["median"]


def _trained(results: Mapping[str, Any]) -> str:
    """Name the variant whose steps count: the short run, or else the whole one."""
    return "train-80gb" if "seconds" in results.get("train-80gb", {}) else "train-80gb-whole"


def _peak(result: Mapping[str, Any]) -> float:
    """Return the most memory that the process took, or, where nobody watched, torch.

    Raises:
        KeyError: the variant did not come to its end.
    """
    if "error" in result:
        raise KeyError("peak")
    peak = result["peak"]
    return peak["process"] if "process" in peak else peak["reserved"]


def read(paths: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[str]]]:
    """Merge runs, the newest first.

    Returns:
        The newest run that timed something, the results by variant, and where those that are not
        its own come from: the variants taken from each other file, after a word for its age.
    """
    runs = [(path, json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    runs.sort(key=lambda run: run[1]["date"], reverse=True)
    newest = next((run for _, run in runs if _timed(run)), runs[0][1])
    alike = (newest["size"], _device(newest))
    runs = [(path, run) for path, run in runs if (run["size"], _device(run)) == alike]
    results: dict[str, Any] = {}
    sources: dict[str, list[str]] = {}
    for index, (path, run) in enumerate(runs):
        for name, result in _with_naive([run for _, run in runs[index:]]).items():
            if name == "ceiling" and run is not newest:
                continue  # shares are of the ceiling of their own run
            if name not in results and "error" not in result:
                results[name] = result
                if run is not newest:
                    age = "later" if run["date"] > newest["date"] else "earlier"
                    sources.setdefault(f"{age} run `{path.name}`", []).append(name)
    # In the order of the newest run; what failed everywhere is told by its error.
    return newest, newest["results"] | results, sources


def _with_naive(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Note the seconds of the naive variant with each result of a run.

    Args:
        runs: this one, and those before it, the newest first.
    """
    found = {}
    for name, result in runs[0]["results"].items():
        naive = "naive-" + name.removeprefix("naive-").partition("-")[0]
        seconds = [
            run["results"][naive]["seconds"]["median"]
            for run in runs
            if "seconds" in run["results"].get(naive, {})
        ]
        found[name] = result | ({"naive": seconds[0]} if seconds else {})
    return found


def base_of(path: Path) -> str:
    """Name the base model of a run; the first runs knew FLUX.1 alone."""
    return json.loads(path.read_text(encoding="utf-8")).get("base", "flux1")


def _timed(run: Mapping[str, Any]) -> bool:
    """Say whether a run holds seconds of a step or a row."""
    return any("seconds" in result for result in run["results"].values())


def _device(run: Mapping[str, Any]) -> str:
    """Name the GPU of a run."""
    names = [result["device"] for result in run["results"].values() if "device" in result]
    return names[0] if names else "a CPU"


def table(results: Mapping[str, Any], unit: str) -> str:
    """Write the variants of one unit."""
    rows = []
    for name, found in results.items():
        if found.get("unit") != unit or "profile" in found.get("notes", {}):
            continue  # what is recorded runs for two steps only
        seconds, peak = found["seconds"], found["peak"]
        rows.append(
            [
                name,
                f"{seconds['median']:.3f} ({seconds['p10']:.3f} … {seconds['p90']:.3f})",
                f"{found['naive'] / seconds['median']:.1f} ×" if "naive" in found else "–",
                f"{100 * found['share']:.0f} %" if "share" in found else "–",
                *(_number(peak.get(key)) for key in ("allocated", "process")),
                _number(found.get("first")),
                *([_number(found.get("whole"))] if unit == "step" else []),
            ]
        )
    heads = ["variant", f"seconds a {unit} (10th … 90th percentile)", "against naive"]
    heads += ["of the ceiling", "tensors, GiB", "process, GiB", f"first {unit} after, s"]
    heads += ["whole run, s"] if unit == "step" else []
    return markdown_table(heads, rows) if rows else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def counts(results: Mapping[str, Any]) -> str:
    """Write how often variants compiled and captured; the first runs did not count it."""
    keys = {"compiled": "pieces of code compiled", "captured": "CUDA graphs captured"}
    rows = [
        [name, *(str(found.get(key, "–")) for key in keys)]
        for name, found in results.items()
        if found.get("unit") in ("step", "row") and "profile" not in found.get("notes", {})
        if keys.keys() & found.keys()
    ]
    return markdown_table(["variant", *keys.values()], rows) if rows else ""


def targets(results: Mapping[str, Any]) -> str:
    """Write what was promised beside what was measured."""
    rows = []
    for meaning, value, bound, less in TARGETS:
        try:
            found = value(results)
        except KeyError:  # not measured
            rows.append([meaning, f"{'≤' if less else '≥'} {bound}", "–", "–"])
            continue
        met = found <= bound if less else found >= bound
        sign = "≤" if less else "≥"
        rows.append([meaning, f"{sign} {bound}", f"{found:.2f}", "met" if met else "missed"])
    return markdown_table(["target", "wanted", "measured", ""], rows)


def agreement(found: Mapping[str, Any]) -> str:
    """Write how far results are from one another."""
    rows = [
        [what, *(_error(found[part][pair]) for pair in pairs)]
        for what, part in (("losses", "losses"), ("LoRA gradients", "gradient"), ("images",) * 2)
        for pairs in [("ours to float32", "naive to float32", "ours to naive")]
    ]
    heads = ["relative error", "ours to float32", "naive bf16 to float32", "ours to naive bf16"]
    text = markdown_table(heads, rows)
    verdict = "holds" if found["agrees"] else "does not hold"
    text += (
        f"\nLargest of {len(found['sigmas'])} noise levels. Asked for: gradients at most "
        f"{found['limit']} times as far from float32 as naive bf16 is; this {verdict}. The edit "
        f"itself, scale 1.2 against 0, moves the images by {_error(found['images']['edit'])}.\n\n"
    )
    steep = found.get("quantised gradients", {})
    rows = [
        [precision, *(_error(value) for value in (away, steep.get(precision, "–")))]
        for precision, away in found["quantised"].items()
    ]
    heads = ["base", "velocity, relative error to bf16", "LoRA gradients, the same"]
    return text + markdown_table(heads, rows)


def _error(value: float | Sequence[float] | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value if isinstance(value, float) else max(value):.1e}"


def profile(name: str, found: Mapping[str, Any]) -> str:
    """Write where the time of one step goes."""
    rows = [
        [f"`{kernel['name'][:60]}`", f"{kernel['ms']:.1f}", f"{kernel['calls']:.0f}"]
        for kernel in found["kernels"][:KERNELS]
    ]
    title = f"{name}: {1e3 * found['seconds']:.0f} ms a step, {100 * found['idle']:.1f} % idle\n\n"
    return title + markdown_table(["kernel", "ms a step", "calls a step"], rows)


def page(paths: Sequence[Path]) -> str:
    """Write all that stands between the markers."""
    newest, results, sources = read(paths)
    rates = results.get("ceiling", {}).get("tflops", {})
    ceilings = ", ".join(f"{rate['median']:.4g} TFLOP/s in {key}" for key, rate in rates.items())
    parts = [
        f"{_device(newest)}, torch {newest['torch']}, diffusers {newest['diffusers']}; "
        f"{newest['date']}. Measured ceiling of matrix products: {ceilings or 'not measured'}.\n",
        table(results, "step"),
        table(results, "row"),
        counts(results),
        targets(results) if newest.get("base", "flux1") == "flux1" else "",
    ]
    if "quantised" in results.get("agreement", {}):
        parts.append(agreement(results["agreement"]))
    for name, found in results.items():
        if "profile" in found.get("notes", {}):
            parts.append(profile(name, found["notes"]["profile"]))
    failed = [
        f"- {name}: {found['error']}\n" for name, found in results.items() if "error" in found
    ]
    parts.append("".join(failed))
    for run, names in sources.items():
        parts.append(f"From the {run}: {', '.join(names)}.\n")
    return "\n".join(part for part in parts if part)


def fill(text: str, content: str, base: str = "flux1") -> str:
    """Replace what stands between the markers of a base.

    Raises:
        ValueError: there are none.
    """
    what = "full size" if base == "flux1" else f"full size, {base}"
    begin, end = (f"<!-- {what}: {side} -->\n" for side in ("begin", "end"))
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end.rstrip())})", re.S)
    filled, count = pattern.subn(lambda match: match.group(1) + content + match.group(2), text)
    if not count:
        raise ValueError(f"no line {begin.strip()} in the page")
    return filled


def main() -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "results",
        type=Path,
        nargs="*",
        help="files of full_size.py; by default the newest run and those before it",
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to fill")
    args = parser.parse_args()
    paths = args.results or [
        path
        for path in (HERE / "results").glob("*.json")
        if json.loads(path.read_text(encoding="utf-8"))["size"] == "full"
    ]
    if not paths:
        parser.error("nothing was measured at full size yet")
    text = args.page.read_text(encoding="utf-8")
    for base in sorted({base_of(path) for path in paths}):
        text = fill(text, page([path for path in paths if base_of(path) == base]), base)
    args.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

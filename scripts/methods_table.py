"""Train every method on age and smile and measure it on unseen seeds: a table of docs/ablation.md.

    python scripts/methods_table.py [--work outputs/methods] [--seeds 64] [--write]

What is already trained or measured in the work folder is kept, so an interrupted call goes on, and
calls with other `--edits` or `--methods` may run side by side (OMP_NUM_THREADS=1) before one
writes.
`--write` puts the table between the markers in docs/ablation.md.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does

import torch

from pairedit.measure import measures
from pairedit.measure.intervals import at, crossing
from tables import digest, kept, measure, put, train, weights

PAGE = Path(__file__).parents[1] / "docs/ablation.md"
METHODS = ("full", "wocontent", "wocfg", "fm", "sliders")
# edit -> skip, scales. Ageing moves hair and skin rather than shapes: its LoRA may act later, which
# disturbs the rest less. Skips and last scales were chosen on seeds 3000 to 3031.
EDITS = {
    "smile": (11, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "age": (20, (0.0, 0.1, 0.2, 0.3, 0.4, 0.65)),
}
FIRST_SEED = 5000
MATCHED = 0.3  # the gain at which methods are compared


def evaluate(path: Path, edit: str, seeds: int) -> dict:
    """Measure one slider; returns means, intervals and the off-target change at matched gain."""
    skip, scales = EDITS[edit]
    seen = range(FIRST_SEED, FIRST_SEED + seeds)
    found = measure(path, edit, skip=skip, scales=scales, seeds=seen)
    target, off = found[measures.target], found[measures.off_target]
    matched = float(at(scales, off.mean, crossing(scales, target.mean, MATCHED)))
    return {
        "target": target.mean.tolist(),
        "target_interval": torch.stack([target.low, target.high], 1).tolist(),
        "off_target": off.mean.tolist(),
        "off_target_interval": torch.stack([off.low, off.high], 1).tolist(),
        "matched": None if matched != matched else matched,
    }


def table(edit: str, rows: dict[str, dict], seeds: int) -> str:
    """Write one edit's results as Markdown: target / off-target change at every scale."""
    skip, scales = EDITS[edit]
    heads = [f"{scale:g}" for scale in scales[1:]]
    lines = [
        f"| {edit}, by scale | {' | '.join(heads)} | off-target at +{MATCHED:.2f} |",
        f"|---|{'---|' * len(heads)}---|",
    ]
    for method, row in rows.items():
        pairs = zip(row["target"][1:], row["off_target"][1:], strict=True)
        cells = [f"{target:+.2f} / {off:.3f}" for target, off in pairs]
        matched = "not reached" if row["matched"] is None else f"**{row['matched']:.3f}**"
        lines.append(f"| `{method}` | {' | '.join(cells)} | {matched} |")
    wide = max((high - low) / 2 for row in rows.values() for low, high in row["target_interval"])
    lines += [
        "",
        f"{seeds} seeds ({FIRST_SEED} to {FIRST_SEED + seeds - 1}), `skip={skip}`; 95 % bootstrap "
        f"intervals of the target changes are at most ±{wide:.2f}.",
        "",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("outputs/methods"),
        help="where trainings and results are kept",
    )
    parser.add_argument(
        "--seeds", type=int, default=64, help="how many people each slider is measured on"
    )
    parser.add_argument(
        "--edits", nargs="+", choices=EDITS, default=list(EDITS), help="what is learnt"
    )
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="by which methods"
    )
    parser.add_argument(
        "--known", action="store_true", help="do not train or measure anything; show what is known"
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/ablation.md")
    args = parser.parse_args()
    text = ""
    for edit in args.edits:
        results = {}
        for method in args.methods:
            folder = args.work / f"{method}-{edit}-{weights()}"
            path = folder / edit / "semantic.safetensors"
            asked = digest(repr((EDITS[edit], FIRST_SEED, args.seeds)))
            known = path.with_name(f"measured-{asked}.json")
            if args.known and not known.is_file():
                continue
            if not path.is_file():
                train({folder: [f"method={method}", f"dataset={edit}"]})
            results[method] = kept(known, lambda p=path, e=edit: evaluate(p, e, args.seeds))
        text += table(edit, results, args.seeds)
    print(text)
    if args.write:
        put(PAGE, "scale table", text)


if __name__ == "__main__":
    main()

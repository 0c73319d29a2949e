"""Train text sliders on flux-mini and measure them by the probe: the table of docs/text-sliders.md.

    python scripts/text_sliders.py [--edits age smile glasses] [--steps 300] [--seeds 32] [--write]

What is already trained or measured in the work folder is kept. `--devices auto auto auto` trains
three at once. `--write` puts the table into the page.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does

from pairedit.measure import measures
from tables import digest, kept, measure, put, train, weights

PAGE = Path(__file__).parents[1] / "docs" / "text-sliders.md"
SCALES = (-0.8, -0.4, 0.0, 0.2, 0.4, 0.8)
SKIP = 6  # from the first step on it would draw another person
FIRST_SEED = 1000


def evaluate(path: Path, edit: str, seeds: int) -> dict:
    """Measure one slider by scale: mean target and off-target change, half a 95 % interval."""
    seen = range(FIRST_SEED, FIRST_SEED + seeds)
    found = measure(path, edit, skip=SKIP, scales=SCALES, seeds=seen)
    target, off = found[measures.target], found[measures.off_target]
    return {
        "target": target.mean.tolist(),
        "half": ((target.high - target.low) / 2).tolist(),
        "off_target": off.mean.tolist(),
    }


def row(edit: str, found: dict) -> str:
    """Write one slider's line of the table."""
    cells = [
        f"{target:+.2f} ±{half:.2f} / {off:.3f}"
        for scale, target, half, off in zip(SCALES, *found.values(), strict=True)
        if scale
    ]
    return f"| {edit} | {' | '.join(cells)} |"


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--edits", nargs="+", default=["age", "smile", "glasses"], help="what is learnt"
    )
    parser.add_argument("--steps", type=int, default=300, help="how many steps each training has")
    parser.add_argument(
        "--seeds", type=int, default=32, help="how many people each slider is measured on"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("outputs/text_sliders"),
        help="where trainings and results are kept",
    )
    parser.add_argument(
        "--devices", nargs="+", default=["auto"], help="the devices that train at the same time"
    )
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    args = parser.parse_args()
    folders = {edit: args.work / f"{edit}-{args.steps}-{weights()}" for edit in args.edits}
    loras = {e: folder / f"text_{e}" / "semantic.safetensors" for e, folder in folders.items()}
    train(
        {
            folders[edit]: ["method=slider_text", f"dataset=text_{edit}", f"steps={args.steps}"]
            for edit, path in loras.items()
            if not path.is_file()
        },
        args.devices,
    )
    asked = digest(repr((SKIP, SCALES, FIRST_SEED, args.seeds)))
    rows = [
        row(
            edit,
            kept(
                path.with_name(f"measured-{asked}.json"),
                lambda edit=edit, path=path: evaluate(path, edit, args.seeds),
            ),
        )
        for edit, path in loras.items()
    ]
    heads = [f"{scale:g}" for scale in SCALES if scale]
    lines = [
        f"| by scale | {' | '.join(heads)} |",
        f"|---|{'---|' * len(heads)}",
        *rows,
        "",
        f"{args.steps} steps, `skip={SKIP}`, {args.seeds} seeds from {FIRST_SEED} on, one training "
        "seed; ± is half a 95 % bootstrap interval.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        put(PAGE, "table", text)


if __name__ == "__main__":
    main()

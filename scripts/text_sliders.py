"""Train text sliders on flux-mini and measure them by the probe: the table of docs/text-sliders.md.

    python scripts/text_sliders.py [--edits age smile glasses] [--steps 300] [--seeds 32] [--write]

What is already trained in the work folder is kept. `--write` puts the table into the page.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the commands do

from hydra import compose, initialize_config_dir

from pairedit.config import CONF, Model, build, register
from pairedit.evaluate import interval, measure
from pairedit.jobs import open_model
from pairedit.lora import read_lora
from pairedit.sample import Slider, generate

PAGE = Path(__file__).parents[1] / "docs" / "text-sliders.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->"
SCALES = (-0.8, -0.4, 0.0, 0.2, 0.4, 0.8)
SKIP = 6  # from the first step on it would draw another person
FIRST_SEED = 1000


def train(edit: str, steps: int, work: Path) -> Path:
    """Train one text slider by the command line; return the LoRA."""
    folder = work / f"{edit}-{steps}"
    path = folder / f"text_{edit}" / "semantic.safetensors"
    if not path.is_file():
        command = Path(sys.executable).with_name("pairedit-train")
        words = ["method=slider_text", f"dataset=text_{edit}", f"steps={steps}", "preview=false"]
        subprocess.run([command, *words, f"hydra.run.dir={folder}"], check=True)
    return path


def row(edit: str, path: Path, seeds: int) -> str:
    """Measure one slider; return its line of the table."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        model = build(compose("gen").model, "model", Model)
    samples = generate(
        open_model(model, device="auto", precision="float32"),
        sliders=[Slider(lora=read_lora(path), scales=SCALES)],
        prompts=[model.prompt],
        seeds=range(FIRST_SEED, FIRST_SEED + seeds),
        skip=SKIP,
        num_inference_steps=model.num_inference_steps,
        guidance_scale=model.guidance_scale,
        resolution=model.resolution,
        batch_size=2 * len(SCALES),
    )
    found = measure(list(samples), edit)
    cells = []
    for index, scale in enumerate(SCALES):
        if scale:
            low, high = interval(found.target[:, index])
            target, off = (part[:, index].mean() for part in (found.target, found.off_target))
            cells.append(f"{target:+.2f} ±{(high - low) / 2:.2f} / {off:.3f}")
    return f"| {edit} | {' | '.join(cells)} |"


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", nargs="+", default=["age", "smile", "glasses"])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--work", type=Path, default=Path("outputs/text_sliders"))
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    args = parser.parse_args()
    heads = [f"{scale:g}" for scale in SCALES if scale]
    rows = [row(edit, train(edit, args.steps, args.work), args.seeds) for edit in args.edits]
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
        page = PAGE.read_text()
        before, rest = page.split(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()

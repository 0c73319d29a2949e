"""Train every method on age and smile and measure it on unseen seeds: the table of the README.

    python scripts/methods_table.py [--work outputs/methods] [--seeds 64] [--write]

What is already trained or measured in the work folder is kept, so an interrupted call goes on, and
calls with other `--edits` or `--methods` may run side by side (OMP_NUM_THREADS=1) before one
writes.
`--write` puts the table between the markers in README.md.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the commands do

import torch
from omegaconf import OmegaConf

from pairedit import evaluate as evaluation
from pairedit.config import CONF, Model, build, locate
from pairedit.evidence import at, crossing
from pairedit.jobs import open_model
from pairedit.lora import read_lora
from pairedit.probe import read

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- methods table: begin -->\n", "<!-- methods table: end -->"
METHODS = ("full", "wocontent", "wocfg", "fm", "sliders")
# edit -> skip, scales. Ageing moves hair and skin rather than shapes: its LoRA may act later, which
# disturbs the rest less. Skips and last scales were chosen on seeds 3000 to 3031.
EDITS = {
    "smile": (11, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "age": (20, (0.0, 0.1, 0.2, 0.3, 0.4, 0.65)),
}
FIRST_SEED = 5000
MATCHED = 0.3  # the gain at which methods are compared


def digest(content: bytes) -> str:
    """Name what a result depends on, so that none of other weights or settings is taken for it."""
    return hashlib.sha256(content).hexdigest()[:8]


def train(method: str, edit: str, folder: Path) -> Path:
    """Train one method on one edit with the defaults of the command line; return the LoRA."""
    path = folder / edit / "semantic.safetensors"
    if not path.is_file():
        command = Path(sys.executable).with_name("pairedit-train")
        options = [f"method={method}", f"dataset={edit}", "preview=false", "report=false"]
        subprocess.run([command, *options, f"hydra.run.dir={folder}"], check=True)
    return path


def evaluate(path: Path, edit: str, seeds: int) -> dict:
    """Measure one slider; returns means, intervals and the off-target change at matched gain."""
    model = build(OmegaConf.load(CONF / "model" / "flux-mini.yaml"), "model", Model)
    skip, scales = EDITS[edit]
    (found,) = evaluation.evaluate(
        open_model(model, device="auto", precision="auto"),
        [
            evaluation.Subject(
                lora=read_lora(path), label="", dataset=edit, pairs=(), attribute=edit, skip=skip
            )
        ],
        scales=scales,
        setting=evaluation.Setting(
            prompts=[model.prompt],
            seeds=range(FIRST_SEED, FIRST_SEED + seeds),
            num_inference_steps=model.num_inference_steps,
            guidance_scale=model.guidance_scale,
            resolution=model.resolution,
            batch_size=2 * len(scales),
        ),
        readers={"probe": lambda images, _: read(images)},
        missing={},
    )
    target, off = found.summaries["target"], found.summaries["off-target"]
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
    parser.add_argument("--work", type=Path, default=Path("outputs/methods"))
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--edits", nargs="+", choices=EDITS, default=list(EDITS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--known", action="store_true", help="train and measure nothing new")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    args = parser.parse_args()
    text = ""
    weights = locate("pkg://flux_mini") / "transformer/diffusion_pytorch_model.safetensors"
    for edit in args.edits:
        results = {}
        for method in args.methods:
            folder = args.work / f"{method}-{edit}-{digest(weights.read_bytes())}"
            asked = repr((EDITS[edit], FIRST_SEED, args.seeds)).encode()
            known = folder / edit / f"measured-{digest(asked)}.json"
            if args.known and not known.is_file():
                continue
            path = train(method, edit, folder)
            if not known.is_file():
                known.write_text(json.dumps(evaluate(path, edit, args.seeds), indent=1))
            results[method] = json.loads(known.read_text())
        text += table(edit, results, args.seeds)
    print(text)
    if args.write:
        page = README.read_text()
        before, rest = page.split(BEGIN)
        README.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()

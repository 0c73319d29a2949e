"""Command line; see the package's docstring."""

import argparse
import time
from pathlib import Path

import torch
from scripts.small_bases.bases import SMALL
from scripts.small_bases.look import SEEDS, look, open_small, words_of
from scripts.small_bases.train import Job, train


def main() -> None:
    """Train one small model, look at it, and say how it is opened."""
    parser = argparse.ArgumentParser(prog="python -m scripts.small_bases")
    parser.add_argument("name", choices=SMALL, help="which small model")
    parser.add_argument(
        "--minutes", type=float, default=10, help="about how long the whole call may take"
    )
    parser.add_argument("--steps", type=int, default=1_000_000, help="the most training steps")
    parser.add_argument(
        "--faces", type=int, default=80_000, help="how many faces are rendered for the training"
    )
    parser.add_argument("--batch", type=int, default=512, help="how many faces a step learns from")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where it is trained",
    )
    parser.add_argument("--eager", action="store_true", help="do not compile the model")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="the seeds of the sheets")
    parser.add_argument("--out", type=Path, help="the folder to write; by default outputs/<name>")
    args = parser.parse_args()
    small, folder = SMALL[args.name], args.out or Path("outputs") / args.name
    job = Job(
        device=torch.device(args.device),
        minutes=args.minutes,
        steps=args.steps,
        faces=args.faces,
        batch=args.batch,
        compiled=not args.eager,
        started=time.monotonic(),
    )
    if job.device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.set_float32_matmul_precision("high")
    train(small, job, folder)
    base = open_small(small.option, folder, job.device)
    for guidance_scale in small.guidance:
        look(base, folder, guidance_scale, job.log, seeds=args.seeds)
    words = words_of(small.option, folder, small.guidance[-1])
    job.log("open it with: " + " ".join(words))


main()

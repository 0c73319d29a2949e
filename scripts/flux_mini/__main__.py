"""Command line of the stages; see the package's docstring."""

import argparse
from pathlib import Path

import torch.distributed as dist
from scripts.flux_mini import export, flux, probe, text, vae
from scripts.flux_mini.run import Run

PACKAGE = Path(__file__).parents[2] / "src" / "pairedit" / "flux_mini"


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(prog="python -m scripts.flux_mini")
    parser.add_argument(
        "stage",
        choices=("tokenizers", "restore", "vae", "probe", "flux", "export"),
        help="which stage to run",
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long this call may take")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("outputs/flux_mini"),
        help="the folder of the checkpoints and the log",
    )
    parser.add_argument(
        "--folder", type=Path, default=PACKAGE, help="where export writes and restore reads"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny batches, to try it on a CPU")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    args = parser.parse_args()
    run = Run(work=args.work, seconds=args.seconds, tiny=args.tiny, compiled=not args.eager)
    if args.stage == "tokenizers":
        text.build_tokenizers(run.work)
    elif args.stage in ("export", "restore"):
        getattr(export, args.stage)(run, args.folder)
    else:
        {"vae": vae, "probe": probe, "flux": flux}[args.stage].train(run)
    if run.world > 1:
        dist.destroy_process_group()


main()

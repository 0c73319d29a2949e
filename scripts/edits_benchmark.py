"""Train methods on the shipped edits and measure them on unseen seeds, many jobs side by side.

    python scripts/edits_benchmark.py [--processes 12] [--gpus 1] [--minutes 9] [--work FOLDER]
                                      [--known [FILE.json] --write docs/method.md] [--out FILE.json]

A job is one training (method, edit, training seed, number of pairs) and its measurements: plain,
local, as the slider itself chooses to be used, and the same on the whole picture, without `local`.
A method is METHOD:STEPS, or, for a base of
another precision, METHOD:STEPS:PRECISION, such as graded:150:fp8. Jobs run in the order of their
worth: all of the first training seed come before any of the second. Each result is written as it is
found, so a call that its clock stops loses little, and the next one goes on. A job's folder holds
what pairedit-train leaves there; beside it stands its JSON. `--write PAGE` puts the tables between
the markers of a page. `--out FILE` keeps the figures of all jobs in one file, such as
benchmarks/results/edits/2026-11-26.json. `--known FILE` writes the tables again from such
a file, and `worth_table.py` fills other pages from it.
"""

import argparse
import multiprocessing
import os
import queue
import time
from itertools import cycle
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores

import torch

from edits.jobs import EDITS, FAILS, Job, jobs, note
from edits.pages import detailed, keep, readable, table
from edits.slider import do
from tables import put, weights

USES = ("plain", "local", "chosen", "whole")  # of the base's skip, the first two
CARDS = "CUDA_VISIBLE_DEVICES"
ROWS = 64  # in one pass of rendering; flux-mini is small
LAST_MOMENT = 5  # seconds that the table takes


def work(args: argparse.Namespace, waiting: queue.SimpleQueue, deadline: float) -> None:
    """Do jobs until none is left or the clock says so, in a process of its own or in this one."""
    torch.set_num_threads(1)
    while time.time() < deadline and (job := waiting.get()) is not None:
        try:
            do(job, args, deadline)
        except Exception as error:  # one bad job must not cost the others
            note(args.work / job.name, {"error": f"{type(error).__name__}: {error}"})


def cards(gpus: int) -> list[str]:
    """Name the GPUs to spread processes over, of those that this one may see."""
    seen = os.environ.get(CARDS)
    return seen.split(",")[:gpus] if seen else [str(card) for card in range(gpus)]


def asked() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("outputs/edits"),
        help="where trainings and results are kept",
    )
    parser.add_argument(
        "--processes", type=int, default=12, help="how many processes work; 0 uses only this one"
    )
    parser.add_argument(
        "--gpus", type=int, default=1, help="over how many GPUs the processes are spread"
    )
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="stop after this time, even if jobs are left"
    )
    parser.add_argument(
        "--methods",
        nargs="*",
        default=["full:500", "graded:150", "fm:500"],
        help="METHOD:STEPS or METHOD:STEPS:PRECISION, trained on three pairs",
    )
    parser.add_argument(
        "--one", nargs="*", default=["graded:150"], help="the same, trained on one pair"
    )
    parser.add_argument(
        "--edits",
        nargs="+",
        choices=(*EDITS, FAILS),
        default=[*EDITS, FAILS],
        help="what is learnt",
    )
    parser.add_argument(
        "--training-seeds",
        nargs="+",
        type=int,
        default=[0, 1, 2],
        help="a training from each of these seeds",
    )
    parser.add_argument(
        "--seeds", type=int, default=64, help="how many people each slider is measured on"
    )
    parser.add_argument(
        "--uses", nargs="+", choices=USES, default=list(USES[:3]), help="how each slider is used"
    )
    parser.add_argument(
        "--rows", type=int, default=ROWS, help="how many rows are rendered in one pass"
    )
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--plain", dest="fast", action="store_false", help="do not use CUDA graphs")
    parser.add_argument(
        "--known",
        type=Path,
        nargs="?",
        const=True,
        metavar="FILE",
        help="do not train or measure anything; show what is known, or what a file of --out holds",
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="PAGE",
        help="put the tables between the markers `benchmark` and `benchmark by edit` of this page",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the figures of all jobs into this file"
    )
    return parser.parse_args()


def main() -> None:
    """Train, measure, print."""
    args = asked()
    args.work = args.work / weights()
    if not args.known:
        run(args)
    print(table(args))
    if args.out:
        keep(args, args.out)
    if args.write:
        put(args.write, "benchmark", readable(args))
        put(args.write, "benchmark by edit", detailed(args))


def run(args: argparse.Namespace) -> None:
    """Share the jobs among processes; stop those that outlast the clock."""
    deadline = time.time() + 60 * args.minutes - LAST_MOMENT
    if not args.processes:
        alone: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        for job in [*jobs(args), None]:
            alone.put(job)
        work(args, alone, deadline)
        return
    spawn = multiprocessing.get_context("spawn")  # CUDA cannot be forked
    waiting = spawn.Queue()
    for job in [*jobs(args), *[None] * args.processes]:
        waiting.put(job)
    workers = [
        spawn.Process(target=work, args=(args, waiting, deadline)) for _ in range(args.processes)
    ]
    for worker, card in zip(workers, cycle(cards(args.gpus)), strict=False):
        os.environ[CARDS] = card  # read when a process begins: it sees this one alone
        worker.start()
    for worker in workers:
        worker.join(max(0.0, deadline - time.time()))
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
            worker.join()
    waiting.cancel_join_thread()


if __name__ == "__main__":
    main()

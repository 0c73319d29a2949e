"""Measure what one busy process costs a training on the same CPUs, by threads and spinning.

    python benchmarks/busy.py [--cpus 0,1] [--settings 2:20000,2:1000,1:20000] [--rounds 6]
        [--out benchmarks/results/busy/NAME.json]

A setting is OMP_NUM_THREADS:GOMP_SPINCOUNT. Each has a process that trains flux-mini and rests
between blocks of steps; in every round each trains one block by itself and one beside a process
that only counts, which this one starts. So all settings see the same machine, and what else runs
on it meets all of them: compare within one table. Every process is pinned to the same CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

COUNT = "while True: pass"
STATES = ("quiet", "busy")


class Blocks:
    """Be the run of a training that does a block of steps for each line of stdin."""

    def __init__(self, steps: int) -> None:
        """Begin with a block that does not count: the first steps allocate."""
        self._steps, self._done = steps, 0
        self._begun = time.perf_counter()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Count a step; at a block's end write its seconds a step and wait for the next line."""
        self._done += 1
        if self._done % self._steps:
            return
        print((time.perf_counter() - self._begun) / self._steps, flush=True)
        if not sys.stdin.readline():
            sys.exit()
        self._begun = time.perf_counter()


def train(steps: int, blocks: int) -> None:
    """Train flux-mini on a CPU, block by block."""
    from pairedit.jobs.opening import open_model
    from pairedit.plan.options import composed
    from pairedit.plan.train import plan_train
    from pairedit.train import fit

    keys = {"steps": steps * blocks, "save_every": 0, "device": "cpu"}
    plan = plan_train(composed("train", {}, keys), method_name="full")
    with tempfile.TemporaryDirectory() as folder:
        fit(
            base=open_model(plan.model, device="cpu", hardware=plan.hardware),
            method=plan.method,
            pairs=plan.pairs["smile"],
            settings=plan.training,
            folder=Path(folder),
            run=Blocks(steps),  # type: ignore[arg-type]
            metadata={},
            name="smile",
        )


def opened(setting: str, steps: int, blocks: int) -> subprocess.Popen[str]:
    """Start the training of one setting, and wait until its first block is done."""
    threads, spins = setting.split(":")
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "GOMP_SPINCOUNT": spins}
    words = [sys.executable, __file__, "--train", str(steps), "--blocks", str(blocks)]
    child = subprocess.Popen(
        words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    return child


def block(child: subprocess.Popen[str]) -> float:
    """Let a training do one block; return its seconds a step."""
    child.stdin.write("\n")
    child.stdin.flush()
    return float(child.stdout.readline())


@contextmanager
def neighbour(wanted: bool):
    """Keep a process counting meanwhile."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", COUNT]) as child:
        time.sleep(0.3)  # until Python has started and counts
        try:
            yield
        finally:
            child.send_signal(signal.SIGKILL)


def measured(settings: list[str], steps: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds a step of every block, by setting and state."""
    found = {setting: {state: [] for state in STATES} for setting in settings}
    with ExitStack() as stack:
        children = {}
        for setting in settings:
            child = stack.enter_context(opened(setting, steps, 1 + 2 * rounds))
            stack.callback(child.kill)
            children[setting] = child
        for _ in range(rounds):
            for setting, child in children.items():
                for state in STATES:
                    with neighbour(state == "busy"):
                        found[setting][state].append(block(child))
    return found


def summary(found: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Reduce blocks to medians, and to ratios against the quickest quiet setting."""
    medians = {
        setting: {state: statistics.median(seconds) for state, seconds in states.items()}
        for setting, states in found.items()
    }
    best = min(states["quiet"] for states in medians.values())
    return {
        setting: states
        | {"quiet ratio": states["quiet"] / best, "busy ratio": states["busy"] / best}
        for setting, states in medians.items()
    }


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Write the summary as Markdown."""
    lines = [
        "| threads | spins | quiet, s a step | beside a busy process | quiet, against the best | "
        "busy, against the best |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for setting, value in found.items():
        cells = [*setting.split(":"), *(f"{value[state]:.3f}" for state in STATES)]
        cells += [f"{value[f'{state} ratio']:.2f} ×" for state in STATES]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpus", default="0,1", help="the CPUs that every process is pinned to")
    parser.add_argument(
        "--settings",
        default="2:20000,2:8000,2:4000,2:1000,1:20000",
        help="OMP_NUM_THREADS:GOMP_SPINCOUNT of each setting",
    )
    parser.add_argument("--rounds", type=int, default=6, help="how many blocks each setting trains")
    parser.add_argument("--steps", type=int, default=8, help="how many steps a block has")
    parser.add_argument("--out", type=Path, help="a JSON file with every block")
    parser.add_argument("--train", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.train, args.blocks)
        return
    with suppress(AttributeError):  # Linux alone pins processes
        os.sched_setaffinity(0, {int(cpu) for cpu in args.cpus.split(",")})
    load = os.getloadavg()[0]
    found = measured(args.settings.split(","), args.steps, args.rounds)
    short = summary(found)
    print(table(short))
    print(f"\nLoad of the machine before: {load:.1f}; {args.rounds} blocks of {args.steps} steps.")
    if args.out:
        written: dict[str, Any] = {
            "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
            "machine": platform.machine(),
            "cpus": args.cpus,
            "load before": load,
            "steps of a block": args.steps,
            "summary": short,
            "seconds a step": found,
        }
        args.out.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Measure how soon the commands answer: --help and mistakes, each in a process of its own.

    python benchmarks/startup.py [--runs 7]

The floor, `import hydra`, is measured in turn with them, as a machine's own speed may change from
minute to minute. Bytecode is kept in a temporary folder; the first call of each does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

FLOOR = "import hydra"
WORDS = {
    "train": ["--help", "nosuchkey=1", "noise_scale=abc", "method=nope", "steps=0"],
    "gen": ["--help", "nosuchkey=1", "skip=abc", "lora=/nowhere.safetensors"],
    "eval": ["--help", "nosuchkey=1", "scales=abc", "lora=/nowhere.safetensors"],
    "export": ["--help", "nosuchkey=1", "layout=nope lora=/nowhere.safetensors"],
}


def seconds(code: str, words: str, place: str) -> float:
    """Return how long a process takes that runs some code with the words of a command line.

    Raises:
        ValueError: it ended in another way than it should.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{place}/bytecode"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - start
    refused = done.returncode == 1 and done.stderr.startswith("error: ")
    if not (refused if "=" in words else done.returncode == 0):
        raise ValueError(f"{code} {words}: {done.stderr or done.stdout}")
    return took


def table(times: Mapping[str, list[float]]) -> str:
    """Write minimum and median of each line, and how often the floor's median goes into its own."""
    floor = statistics.median(times[FLOOR])
    lines = [f"{'seconds':48}{'min':>6}{'median':>8}{'/ floor':>9}"]
    for name, found in times.items():
        median = statistics.median(found)
        lines.append(f"{name:48}{min(found):6.2f}{median:8.2f}{median / floor:9.1f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="how often each command is started")
    runs = parser.parse_args().runs
    calls = {FLOOR: (FLOOR, "")}
    for command, asked in WORDS.items():
        code = f"from pairedit.cli import {command}; {command}()"
        calls |= {f"pairedit-{command} {words}": (code, words) for words in asked}
    times: dict[str, list[float]] = {name: [] for name in calls}
    with tempfile.TemporaryDirectory() as place:
        for run in range(runs + 1):
            for name, (code, words) in calls.items():
                took = seconds(code, words, place)
                if run:
                    times[name].append(took)
    print(table(times))


if __name__ == "__main__":
    main()

"""Measure where the time of `make demo` goes, phase by phase.

    python benchmarks/demo.py [--steps 350] [--runs 1]

Runs the demo's commands as they stand in the Makefile, each in a process of its own, and both edits
side by side, into a temporary folder. A phase does not count what another one inside of it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PHASES = {
    "import": "start Python, import pairedit, torch, diffusers",
    "configure": "compose, check, log",
    "load": "read the base model",
    "encode": "images and prompts",
    "train": "steps",
    "sample": "steps",
    "decode": "latents to images",
    "measure": "the trial and the report of a training",
    "write": "LoRAs, images, sheets, checkpoints",
    "exit": "end Python",
}
# Where a phase begins: a module as its users name it, a function, the phase.
DOORS = (
    ("load", "load", "load"),
    ("train", "encode_pairs", "encode"),
    ("flux.Flux", "text", "encode"),
    ("job", "fit", "train"),
    ("closing", "by_trial", "measure"),
    ("closing", "generate", "sample"),
    ("gen", "generate", "sample"),
    ("flux.Flux", "decode", "decode"),
    ("closing", "open_readers", "measure"),
    ("closing", "update_of", "measure"),
    ("closing", "measure_slider", "measure"),
    ("closing", "write_report", "write"),
    ("closing", "draw_sheet", "write"),
    ("gen", "draw_sheet", "write"),
    ("job", "save_png", "write"),
    ("gen", "save_png", "write"),
    ("gen", "write_yaml", "write"),
    ("progress", "write_checkpoint", "write"),
    ("saving", "write_lora", "write"),
)


class Split:
    """Count the seconds of each phase."""

    def __init__(self, started: float, phase: str) -> None:
        """Take `time.monotonic` at the start of the first phase."""
        self.seconds: Counter[str] = Counter()
        self._last, self._phase = started, phase

    def enter(self, phase: str) -> str:
        """Begin a phase; return the one that was."""
        now, before = time.monotonic(), self._phase
        self.seconds[before] += now - self._last
        self._last, self._phase = now, phase
        return before

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """Count what runs inside to a phase."""
        before = self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def watch(self, owner: Any, name: str, phase: str) -> None:
        """Count what a function does, or a generator between two of its values."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **values: Any) -> Any:
            with self.within(phase):
                return function(*args, **values)

        @wraps(function)
        def each(*args: Any, **values: Any) -> Iterator[Any]:
            items, end = function(*args, **values), object()
            while True:
                with self.within(phase):
                    item = next(items, end)
                if item is end:
                    return
                yield item

        setattr(owner, name, each if isgeneratorfunction(function) else timed)


def demo(folder: Path) -> dict[str, list[list[str]]]:
    """Read the demo's commands from the Makefile: those of each edit, in their order."""
    text = (ROOT / "Makefile").read_text()
    edits = re.findall(r"\$\(DEMO\)/(\w+)/", text.split("\nDEMOS := ")[1].split("\n")[0])
    recipe = text.split("\n$(DEMOS): $(DEMO)/%/sheet.png:")[1].split("\n\n")[0]
    lines = re.findall(r"\$\(BIN\)/pairedit-(.*)", recipe.replace("\\\n", " "))
    return {
        edit: [
            shlex.split(line.replace("$(DEMO)", str(folder)).replace("$*", edit)) for line in lines
        ]
        for edit in edits
    }


def run(words: list[str], place: Path) -> dict[str, float]:
    """Run one command in a process of its own; return the seconds of its phases.

    Raises:
        ValueError: it failed.
    """
    cores = min(4, ((os.cpu_count() or 2) + 1) // 2)  # all of this as in the Makefile
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    environment = {"OMP_NUM_THREADS": str(cores), **os.environ, **offline}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.NamedTemporaryFile(suffix=".json", dir=place, delete=False) as file:
        out, started = Path(file.name), time.monotonic()
    command = [sys.executable, __file__, "--one", str(started), str(out), *words]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(words)}: {done.stderr}")
    seconds = json.loads(out.read_text())
    return {**seconds, "exit": time.monotonic() - started - sum(seconds.values())}


def measure(started: str, out: str, command: str, *words: str) -> None:
    """Be one command: run it and write the seconds of its phases to a file."""
    split = Split(float(started), "import")
    from pairedit import cli

    with cli.collector_at_rest():
        from pairedit import train
        from pairedit.bases.flux1 import flux, load
        from pairedit.jobs import closing, gen
        from pairedit.jobs import train as job
        from pairedit.lora import saving
        from pairedit.runs import progress

    modules = {
        "job": job,
        "closing": closing,
        "gen": gen,
        "load": load,
        "train": train,
        "progress": progress,
        "saving": saving,
        "flux.Flux": flux.Flux,
    }
    for owner, name, phase in DOORS:
        split.watch(modules[owner], name, phase)
    sys.argv[1:] = words
    with split.within("configure"):
        getattr(cli, command)()
    Path(out).write_text(json.dumps(split.seconds))


def table(splits: Mapping[str, list[Mapping[str, float]]]) -> str:
    """Write the median seconds of each phase by command."""
    lines = [f"{'seconds':12}" + "".join(f"{name:>12}" for name in [*splits, "all"])]
    totals = [0.0] * (len(splits) + 1)
    for phase, what in PHASES.items():
        row = [
            statistics.median([split.get(phase, 0.0) for split in found])
            for found in splits.values()
        ]
        row.append(sum(row))
        totals = [total + cell for total, cell in zip(totals, row, strict=True)]
        lines.append(f"{phase:12}" + "".join(f"{cell:12.2f}" for cell in row) + f"  {what}")
    lines.append(f"{'total':12}" + "".join(f"{total:12.2f}" for total in totals))
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--one"]:
        measure(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--steps", type=int, help="training steps, instead of the demo's own number"
    )
    parser.add_argument("--runs", type=int, default=1, help="how often the demo runs")
    parser.add_argument("--keep", type=Path, help="an empty folder that keeps what the demo makes")
    args = parser.parse_args()
    splits: dict[str, list[Mapping[str, float]]] = {}
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as pool:
            place, started = Path(temporary), time.monotonic()
            folder = (args.keep or place).resolve()

            def follow(commands: list[list[str]], place: Path = place) -> list[dict[str, float]]:
                more = [f"steps={args.steps}"] if args.steps else []
                return [run([*c, *more] if c[0] == "train" else c, place) for c in commands]

            edits = demo(folder)
            for (edit, commands), found in zip(
                edits.items(), pool.map(follow, edits.values()), strict=True
            ):
                for words, split in zip(commands, found, strict=True):
                    splits.setdefault(f"{words[0]} {edit}", []).append(split)
            print(f"{time.monotonic() - started:.1f} s")
    print(table(splits))


if __name__ == "__main__":
    main()

"""Search settings for one edit with `sweep=tune`, and hold the best against the default.

    python benchmarks/tune.py --work /tmp/tune [--workers 2] [--seconds 200]

Runs 12 trials on smile; then trains the default and the best setting from two other seeds, and
measures them on 32 seeds that the search has not seen. What was done is kept: the same command
goes on. `--seconds` kills the search, as a lost machine does, when so much time is spent: the
study then goes on with the next command. WORK/tune.json holds the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

TRAIN = "from pairedit.cli import train; train()"
EVAL = "from pairedit.cli import eval; eval()"
MEASURE = "matched off-target"
SEEDS = "{start: 2000, count: 32}"  # neither those of a training's report nor of its trials


def main() -> None:
    """Do what is left of all this, and print what is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for the search")
    parser.add_argument("--edit", default="smile", help="what is learnt")
    parser.add_argument("--trials", type=int, default=12, help="how many settings are tried")
    parser.add_argument("--steps", default="100,150", help="the numbers of steps that are tried")
    parser.add_argument("--seconds", type=float, help="kill the search after this time")
    parser.add_argument(
        "--workers", type=int, default=1, help="how many trainings run at the same time"
    )
    parser.add_argument("words", nargs="*", help="further keys of every training")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    search = given.work / "search"
    best = search / "optimization_results.yaml"
    if not best.is_file():
        words = [f"resume={search}"]
        if not (search / "study.db").is_file():
            words = ["sweep=tune", f"dataset={given.edit}", f"hydra.sweep.dir={search}"]
            words += [f"hydra.sweeper.n_trials={given.trials}", *given.words]
            words += [f"hydra.sweeper.params.steps='choice({given.steps})'"]
        if given.workers > 1:
            words += ["hydra/launcher=joblib", f"hydra.sweeper.n_jobs={given.workers}"]
        if not _run(TRAIN, words, given.seconds):
            print(f"killed with {len(_trials(search))} of {given.trials} trials", flush=True)
            return
    chosen = yaml.safe_load(best.read_text())
    setting = [f"{key}={value}" for key, value in chosen["best_params"].items()]
    for name, words in (("default", []), ("best", setting)):
        for seed in (1, 2):
            place = given.work / "finals" / f"{name}-{seed}"
            if not (place / given.edit / "report.json").is_file():
                usual = [f"dataset={given.edit}", f"seed={seed}", "preview=false", *given.words]
                _run(TRAIN, [*usual, *words, f"hydra.run.dir={place}", "resume=auto"])
    finals = given.work / "eval"
    words = [f"sweep={given.work / 'finals'}", f"seeds={SEEDS}", "reader=[probe]"]
    _run(EVAL, [*words, f"hydra.run.dir={finals}"])
    values: dict[str, list[float]] = {"default": [], "best": []}
    for slider in json.loads((finals / "eval.json").read_text())["sliders"]:
        name = Path(slider["lora"]).parents[1].name.partition("-")[0]
        values[name].append(slider["measures"][MEASURE]["mean"])
    found: dict[str, Any] = {
        "trials": _trials(search),
        "best": chosen["best_params"],
        "score of the best": chosen["best_value"],
        MEASURE: values,
    }
    print(json.dumps(found), flush=True)
    (given.work / "tune.json").write_text(json.dumps(found, indent=1))


def _trials(search: Path) -> dict[str, float | None]:
    """Return the score of every trial that has ended."""
    notes = {p.parent.name: json.loads(p.read_text()) for p in search.glob("*/job.json")}
    return {n: note["score"] for n, note in sorted(notes.items()) if note["status"] == "done"}


def _run(code: str, words: list[str], seconds: float | None = None) -> bool:
    """Run a command; say whether it came to its end before it was to be killed."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-u", "-c", code, *words], start_new_session=True)
    try:
        code_of_exit = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    print(f"{time.monotonic() - started:.0f} s: {' '.join(words)}", flush=True)
    if code_of_exit:
        sys.exit(code_of_exit)
    return True


if __name__ == "__main__":
    main()

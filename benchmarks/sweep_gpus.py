"""Measure a sweep on all GPUs of a machine against one of them, through `hydra/launcher=joblib`.

    python benchmarks/sweep_gpus.py --work /tmp/sweep [--gpus 2] [--parts flux-mini] [--steps 240]

Trains `full` on flux-mini from eight seeds, and four LoRAs on a FLUX.1 of FLUX.1-dev's size with
random weights, first with one GPU, then with all. What is known is printed and written to
WORK/sweep_gpus.json after each of them. `--size tiny` tries the commands out on a CPU.
Needs `pip install 'pairedit[joblib]'`.

A worker starts once and does several jobs. With a start of s and jobs of t seconds, n jobs on two
GPUs take (s + n t / 2) / (s + n t) of the time on one: .55 needs n t of at least 9 s, and both
sweeps then take 15.5 s. The script says both times, so the steps can be chosen by a short try.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TRAIN = "from pairedit.cli import train; train()"


def main() -> None:
    """Run all four sweeps and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for models and sweeps")
    parser.add_argument("--gpus", type=int, default=2, help="how many GPUs there are")
    parser.add_argument(
        "--size",
        choices=("full", "tiny"),
        default="full",
        help="the size of the large model: tiny tries the commands out",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=240,
        help="steps of a flux-mini training; from 250 on it is compiled",
    )
    parser.add_argument(
        "--large-steps", type=int, default=150, help="steps of a training of the large model"
    )
    parser.add_argument("--jobs", type=int, default=8, help="how many trainings of flux-mini")
    parser.add_argument(
        "--large-jobs", type=int, default=4, help="how many trainings of the large model"
    )
    parser.add_argument("--parts", default="flux-mini,large", help="flux-mini, large, or both")
    given = parser.parse_args()
    tiny = given.size == "tiny"
    given.work.mkdir(parents=True, exist_ok=True)
    parts = given.parts.split(",")
    found: dict[str, Any] = {"gpus": given.gpus, "size": given.size}
    folder = given.work / "model"
    if "large" in parts:
        started = time.monotonic()
        _write_large(folder, tiny)
        found["model written, s"] = round(time.monotonic() - started, 1)
        _note(given.work, found)
    large = ["model=flux-dev", f"model.path={folder}", "batch_terms=false"]
    if tiny:
        large += ["resolution=32", "model.max_sequence_length=32", "num_inference_steps=28"]
    sweeps = {
        "flux-mini": (given.jobs, [f"steps={given.steps}"]),
        "large": (given.large_jobs, [f"steps={given.large_steps}", *large]),
    }
    for name in parts:
        jobs, words = sweeps[name]
        # Files are read and kernels built once for both.
        _train(given.work / f"{name}-warm", 1, tiny, [*_last([*words, "steps=2"]), "seed=99"])
        seeds = f"seed=range({jobs})"
        found[name] = known = {"jobs": jobs, "steps": words[0]}
        for label, count in (("one GPU", 1), ("all GPUs", given.gpus)):
            place = given.work / f"{name}-{count}"
            took = _train(place, count, tiny, [*words, seeds])
            known[label] = {"s": round(took, 1), **_spent(place, took, jobs / count)}
            _note(given.work, found)
        known["share"] = round(known["all GPUs"]["s"] / known["one GPU"]["s"], 3)
        pairs = [_digests(given.work / f"{name}-{count}") for count in (1, given.gpus)]
        same = sum(pairs[0][job] == pairs[1].get(job) for job in pairs[0])
        known["same bytes"] = f"{same} of {len(pairs[0])}"
        _note(given.work, found)


def _note(work: Path, found: Mapping[str, Any]) -> None:
    """Say and write down what is known so far."""
    text = json.dumps(found)
    print(text, flush=True)
    (work / "sweep_gpus.json").write_text(text)


def _train(folder: Path, gpus: int, tiny: bool, words: list[str]) -> float:
    """Run one sweep; return its seconds."""
    visible = {} if tiny else {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus)))}
    command = [sys.executable, "-u", "-c", TRAIN, "-m", "hydra/launcher=joblib", "method=full"]
    command += ["preview=false", "report=false", f"hydra.sweep.dir={folder}", *words]
    command += ["device=cpu", f"hydra.launcher.n_jobs={gpus}"] if tiny else []
    print(f"{folder.name}: begins", flush=True)
    started = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, **visible})
    took = time.monotonic() - started
    print(f"{folder.name}: {took:.1f} s", flush=True)
    return took


def _spent(folder: Path, took: float, turns: float) -> dict[str, float]:
    """Divide the time of a sweep into the start of its workers and a job of a worker at work."""
    notes = [json.loads(path.read_text()) for path in folder.glob("*/job.json")]
    a_job = statistics.median(note["seconds"] for note in notes)
    return {"a job, s": round(a_job, 1), "start, s": round(took - turns * a_job, 1)}


def _last(words: list[str]) -> list[str]:
    """Keep of every key the word that was given last."""
    return list({word.partition("=")[0]: word for word in words}.values())


def _digests(folder: Path) -> dict[str, str]:
    """Return the checksum of each job's weights, behind the header."""
    found = {}
    for path in sorted(folder.glob("*/*/semantic.safetensors")):
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        found[str(path.relative_to(folder))] = hashlib.sha256(content[start:]).hexdigest()
    return found


def _write_large(folder: Path, tiny: bool) -> None:
    """Save a FLUX.1 of FLUX.1-dev's size, or a tiny one, with random weights."""
    if (folder / "model_index.json").is_file():
        return
    import torch

    if tiny:
        from pairedit.mini.untrained import TINY, networks, pipeline

        pipeline(TINY, networks(TINY)).save_pretrained(folder)
        return
    import sizes

    made = sizes.build(sizes.FULL)
    for part in made.components.values():
        if isinstance(part, torch.nn.Module):
            # Blocks share their memory until they are on a GPU.
            part.to("cuda")
    made.save_pretrained(folder)


if __name__ == "__main__":
    main()

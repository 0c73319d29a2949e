"""Measure a sweep on several GPUs of a machine against one, through `hydra/launcher=joblib`.

    python benchmarks/sweep_gpus.py --work /tmp/sweep [--gpus 1 2 4] [--parts flux-mini]

Trains `full` on flux-mini from eight seeds, and four LoRAs on a FLUX.1 of FLUX.1-dev's size with
random weights, with each number of GPUs. What is known is printed and written to
WORK/sweep_gpus.json after each of them, and what stands there is kept. `--size tiny` tries the
commands out on a CPU. Needs `pip install 'pairedit[joblib]'`.

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
    """Run the sweeps and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for models and sweeps")
    parser.add_argument(
        "--gpus", type=int, nargs="+", default=[1, 2], help="numbers of GPUs, one after the other"
    )
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
    parser.add_argument(
        "--more", nargs="+", default=[], help="words for every training, such as compile=false"
    )
    parser.add_argument("--parts", default="flux-mini,large", help="flux-mini, large, or both")
    given = parser.parse_args()
    tiny = given.size == "tiny"
    given.work.mkdir(parents=True, exist_ok=True)
    parts = given.parts.split(",")
    notes = given.work / "sweep_gpus.json"
    found: dict[str, Any] = json.loads(notes.read_text()) if notes.is_file() else {}
    found["size"] = given.size
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
        words += given.more
        # Files are read, kernels built and all cards woken once for all sweeps.
        most = max(given.gpus)
        warm = [*_last([*words, "steps=2"]), f"seed=range(99,{99 + most})"]
        _train(given.work / f"{name}-warm-{most}", most, tiny, warm)
        seeds = f"seed=range({jobs})"
        known = found.setdefault(name, {"jobs": jobs, "steps": words[0]})
        for count in given.gpus:
            place = given.work / f"{name}-{count}"
            took = _train(place, count, tiny, [*words, seeds])
            known[f"{count} GPUs"] = {"s": round(took, 1), **_spent(place, took)}
            if count > 1 and "1 GPUs" in known:
                alone = known["1 GPUs"]["s"]
                known[f"{count} GPUs"]["share"] = round(took / alone, 3)
                pairs = [_digests(given.work / f"{name}-{of}") for of in (1, count)]
                same = sum(pairs[0][job] == pairs[1].get(job) for job in pairs[0])
                known[f"{count} GPUs"]["same bytes"] = f"{same} of {len(pairs[0])}"
            _note(given.work, found)


def _note(work: Path, found: Mapping[str, Any]) -> None:
    """Say and write down what is known so far."""
    text = json.dumps(found)
    print(text, flush=True)
    (work / "sweep_gpus.json").write_text(text)


def _train(folder: Path, gpus: int, tiny: bool, words: list[str]) -> float:
    """Run one sweep; return its seconds."""
    there = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    visible = {} if tiny else {"CUDA_VISIBLE_DEVICES": ",".join(there[:gpus])}
    command = [sys.executable, "-u", "-c", TRAIN, "-m", "hydra/launcher=joblib", "method=full"]
    command += ["preview=false", "report=false", f"hydra.sweep.dir={folder}", *words]
    command += ["device=cpu", f"hydra.launcher.n_jobs={gpus}"] if tiny else []
    print(f"{folder.name}: begins", flush=True)
    started = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, **visible})
    took = time.monotonic() - started
    print(f"{folder.name}: {took:.1f} s", flush=True)
    return took


def _spent(folder: Path, took: float) -> dict[str, Any]:
    """Tell what jobs took, in seconds: the first of each worker, with its imports, and others."""
    workers: dict[int, list[Mapping[str, Any]]] = {}
    jobs = [json.loads(path.read_text()) for path in folder.glob("*/job.json")]
    for job in sorted(jobs, key=lambda job: job["since"]):
        workers.setdefault(job["process"], []).append(job)
    first = min(job["since"] for job in jobs)
    last = max(job["since"] + job["seconds"] for job in jobs)
    later = [job["seconds"] for jobs in workers.values() for job in jobs[1:]]
    return {
        "before and after all jobs, s": round(took - (last - first), 1),
        "first jobs, s": [round(jobs[0]["seconds"], 1) for jobs in workers.values()],
        "a later job, s": round(statistics.median(later), 1) if later else None,
        "jobs of each worker": [len(jobs) for jobs in workers.values()],
    }


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

"""Measure a sweep on all GPUs of a machine against one of them, through `hydra/launcher=joblib`.

    python benchmarks/sweep_gpus.py --work /tmp/sweep [--gpus 2] [--size full]

Trains `full` on flux-mini from eight seeds, and four LoRAs on a FLUX.1 of FLUX.1-dev's size with
random weights, first with one GPU, then with all; writes WORK/sweep_gpus.json. `--size tiny` tries
the commands out on a CPU. Needs `pip install 'pairedit[joblib]'`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

TRAIN = "from pairedit.cli import train; train()"


def main() -> None:
    """Run all four sweeps and write what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--steps", type=int, default=500, help="of flux-mini")
    parser.add_argument("--large-steps", type=int, default=150)
    parser.add_argument("--parts", default="flux-mini,large", help="one of them, or both")
    given = parser.parse_args()
    tiny = given.size == "tiny"
    given.work.mkdir(parents=True, exist_ok=True)
    parts = given.parts.split(",")
    folder = given.work / "model"
    if "large" in parts:
        _write_large(folder, tiny)
    large = ["model=flux-dev", f"model.path={folder}"]
    large += [f"steps={given.large_steps}", "batch_terms=false", "preview=false", "report=false"]
    if tiny:
        large += ["resolution=32", "model.max_sequence_length=32", "num_inference_steps=28"]
    sweeps = {
        "flux-mini": [f"seed={','.join('01234567')}", f"steps={given.steps}", "report=false"],
        "large": ["seed=0,1,2,3", *large],
    }
    found = {"gpus": given.gpus, "size": given.size}
    for name in parts:
        words = sweeps[name]
        _train(given.work / f"{name}-warm", 1, tiny, [*words, "seed=0", "steps=20"])
        alone, together = (
            _train(given.work / f"{name}-{count}", count, tiny, words) for count in (1, given.gpus)
        )
        pairs = [_digests(given.work / f"{name}-{count}") for count in (1, given.gpus)]
        same = sum(pairs[0][job] == pairs[1].get(job) for job in pairs[0])
        found[name] = {
            "one GPU, s": round(alone, 1),
            "all GPUs, s": round(together, 1),
            "share": round(together / alone, 3),
            "same bytes": f"{same} of {len(pairs[0])}",
        }
        print(name, found[name], flush=True)
        (given.work / "sweep_gpus.json").write_text(json.dumps(found, indent=1))


def _train(folder: Path, gpus: int, tiny: bool, words: list[str]) -> float:
    """Run one sweep; return its seconds."""
    visible = {} if tiny else {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus)))}
    command = [sys.executable, "-c", TRAIN, "-m", "hydra/launcher=joblib", "method=full"]
    command += ["preview=false", f"hydra.sweep.dir={folder}", *_last(words)]
    command += ["device=cpu", f"hydra.launcher.n_jobs={gpus}"] if tiny else []
    started = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, **visible})
    return time.monotonic() - started


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

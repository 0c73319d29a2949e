"""Measure where the time goes from a fresh Python to the LoRA files of a default training.

    python benchmarks/begin.py [--variants eager,cold,warm,loaders] [--size full] [--out FILE.json]

Each variant is a new process on the model of `sizes.py`, whose weights are random:

    eager   as a default run is: blocks are not compiled
    cold    compiled, with an empty compiler's cache
    warm    compiled, with the cache that `cold` has left: a second run on one machine
    loaders eager, weights brought to the GPU by way of two pinned buffers that are used again
            (an experiment, no part of the package)

The clock starts when the process is started. `self` of an import is without what it imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CACHED = ("cold", "warm")  # compile, and share a cache
PARTS = ("torch", "accelerate", "transformers", "diffusers", "peft", "pairedit.jobs.train")
BUFFER = 2**28  # bytes of a pinned buffer


def imported() -> dict[str, float]:
    """Import what a training needs, part after part; return the seconds of each."""
    found = {}
    for part in PARTS:
        begun = time.perf_counter()
        __import__(part)
        found[part] = time.perf_counter() - begun
    begun = time.perf_counter()
    from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel  # noqa: F401
    from transformers import CLIPTextModel, T5EncoderModel  # noqa: F401

    import pairedit.bases.flux1.flux  # noqa: F401

    found["classes of FLUX"] = time.perf_counter() - begun
    return found


class Stopwatch:
    """Add up the seconds of calls by name; on a GPU what they have started counts."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Replace a function by one that is timed."""
        import torch

        inner: Callable = getattr(owner, attribute)

        def timed(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*given, **named)
            finally:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                took = time.perf_counter() - begun
                self.seconds[name] = self.seconds.get(name, 0.0) + took

        setattr(owner, attribute, timed)


def by_buffers() -> Callable:
    """Return a `bring` that copies by way of two pinned buffers."""
    import torch

    buffers = [torch.empty(BUFFER, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
    free = [torch.cuda.Event() for _ in buffers]
    turn = 0

    def bring(values: torch.Tensor, device: torch.device) -> torch.Tensor:
        nonlocal turn
        if device.type != "cuda" or values.is_cuda:
            return values.to(device)
        values = values.contiguous()
        there = torch.empty_like(values, device=device)
        source, target = (part.view(-1).view(torch.uint8) for part in (values, there))
        for start in range(0, len(source), BUFFER):
            part = source[start : start + BUFFER]
            free[turn].synchronize()
            pinned = buffers[turn][: len(part)]
            pinned.copy_(part)
            target[start : start + BUFFER].copy_(pinned, non_blocking=True)
            free[turn].record()
            turn = 1 - turn
        return there

    return bring


def one(call: dict[str, Any]) -> None:
    """Be one variant: train, and write what was found."""
    stamps = {"Python": time.monotonic() - call["started"]}
    imports = imported()
    stamps["imports"] = time.monotonic() - call["started"]
    import torch

    import full_size
    import ours
    from measure import Bench
    from pairedit.bases.flux1 import flux, modulations
    from pairedit.lora import adapters
    from pairedit.machine import blocks, graphs, lending

    stamps["imports of the benchmark"] = time.monotonic() - call["started"]
    device = torch.device(call["device"])
    if call["variant"] == "loaders" and device.type == "cuda":
        lending.bring = blocks.bring = by_buffers()
    watch = Stopwatch()
    watch.watch(flux.Flux, "text", "prompts")
    watch.watch(flux.Flux, "encode", "images")
    watch.watch(flux.Flux, "place", "transformer to its device")
    watch.watch(graphs._Captured, "__init__", "first pass and capture")
    watch.watch(modulations.Modulations, "prepare", "modulations")
    watch.watch(adapters.Adapters, "add", "LoRAs attached")
    if device.type == "cuda":
        import triton.compiler

        watch.watch(triton.compiler, "compile", "of the first pass: Triton kernels")
    lend = flux.lend

    @contextmanager
    def lent(*given: Any, **named: Any):
        begun = time.perf_counter()
        with lend(*given, **named) as place:
            if device.type == "cuda":
                torch.cuda.synchronize()
            took = time.perf_counter() - begun
            watch.seconds["of both: copying"] = watch.seconds.get("of both: copying", 0.0) + took
            yield place

    flux.lend = lent
    bench = Bench(
        size=full_size.sizes_of("flux1")[call["size"]],
        device=device,
        started=call["started"],
        folder=Path(call["folder"]),
    )
    compiles = call["variant"] in CACHED
    found = ours.train(bench, name="80gb", whole=True, default=True, compile=compiles)
    stamps |= found["notes"]["seconds_at"]
    report = {"stamps": stamps, "imports": imports, "parts": watch.seconds}
    report |= {"step": found["seconds"]["median"], "hardware": found["hardware"]}
    if compiles:
        report["compiling"] = torch._dynamo.utils.compile_times(repr="csv", aggregate=True)
    if device.type == "cuda":
        report["device"] = torch.cuda.get_device_name()
    (bench.folder / "found.json").write_text(json.dumps(report, indent=1, default=str))


def run(variant: str, args: argparse.Namespace, folder: Path, cache: Path) -> dict[str, Any]:
    """Run one variant in a process of its own."""
    folder.mkdir()
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TRITON_CACHE_DIR": str(cache / "triton")}
    caches |= {"HF_HUB_OFFLINE": "1"}
    call = {"variant": variant, "size": args.size, "device": args.device, "folder": str(folder)}
    call |= {"started": time.monotonic()}
    words = [sys.executable, __file__, "--one", json.dumps(call)]
    done = subprocess.run(words, env=os.environ | caches, check=False)
    report = folder / "found.json"
    return json.loads(report.read_text()) if report.exists() else {"error": done.returncode}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--variants",
        default="eager,cold,warm,loaders",
        help="which of eager, cold, warm and loaders, with commas between them",
    )
    parser.add_argument(
        "--size",
        choices=["full", "tiny"],
        default="full",
        help="the size of the model: full is that of FLUX.1-dev",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="where it is measured")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(json.loads(args.one))
        return
    args.device = args.device or ("cpu" if args.size == "tiny" else "cuda")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        for variant in args.variants.split(","):
            cache = Path(place) / ("shared" if variant in CACHED else f"cache-{variant}")
            results[variant] = run(variant, args, Path(place) / variant, cache)
            print(variant, json.dumps(results[variant], indent=1), flush=True)
            if args.out:
                args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

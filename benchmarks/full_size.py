"""Measure training and sampling at FLUX.1-dev's size, naive and ours, one process per variant.

    python benchmarks/full_size.py [--variants naive-train,train-80gb] [--seconds 580]

Needs a CUDA GPU and about 60 GB of memory, no weights: they are random. `--size tiny` tries the
commands out on a CPU. What is measured is in the JSON file after every variant; `table.py` turns
it into docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from variants import ON_REQUEST, VARIANTS

STARTED = time.monotonic()
HERE = Path(__file__).resolve().parent


class Card:
    """Watch how much of the GPU's memory is taken, by everything, from outside the process."""

    def __init__(self, folder: Path, device: str) -> None:
        """Start to watch."""
        self._log = folder / "memory"
        self._process: subprocess.Popen | None = None
        if device == "cuda" and shutil.which("nvidia-smi"):
            query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "250"]
            card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(["nvidia-smi", "-i", card, *query], stdout=log)
        self.start()
        self._idle = min(self._seen(), default=0.0)

    def start(self) -> None:
        """Forget what was before."""
        if self._process:
            time.sleep(1)  # until a process that ended is seen to be gone
        self._before = len(self._seen())

    def peak(self) -> dict[str, float]:
        """Return the most that was taken since `start`, in GiB."""
        seen = self._seen()[self._before :]
        return {"process": max(seen) - self._idle} if seen else {}

    def stop(self) -> None:
        """Stop watching."""
        if self._process:
            self._process.terminate()

    def _seen(self) -> list[float]:
        """Return what was taken, in GiB, oldest first."""
        if not self._process:
            return []
        lines = self._log.read_text().split("\n")[:-1]  # the last one may be half written
        return [int(line) / 1024 for line in lines if line.strip().isdecimal()]


def measure() -> None:
    """Import everything, wait for a line that names a variant, run it and write what it found."""
    import pairedit.bases.flux1.flux  # noqa: F401, I001  (first: it keeps transformers quiet)
    import torch

    import agreement  # noqa: F401  (and with it all the others)
    from measure import Bench, counted

    line = sys.stdin.readline()
    if not line:  # there is no more to measure
        return
    call = json.loads(line)
    variant, folder = {**VARIANTS, **ON_REQUEST}[call["name"]], Path(call["folder"])
    run = getattr(importlib.import_module(variant.module), variant.function)
    # torch 2.11 with CUDA 13: its attention backward crashes on FLUX's shapes.
    torch.backends.cuda.enable_cudnn_sdp(False)
    device = torch.device(call["device"])
    size = sizes_of(call["base"])[call["size"]]
    bench = Bench(size=size, device=device, started=call["started"], folder=folder)
    try:
        with counted() as counts:
            found = run(bench, **variant.options)
        found |= counts
        if device.type == "cuda":
            found["device"] = torch.cuda.get_device_name()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"[:500], "peak": bench.memory()}
    replace(folder / "found.json", found)


def sizes_of(base: str) -> Mapping[str, Any]:
    """Return the sizes of a base model: of FLUX.1, or of a module here that is named after it."""
    name = "sizes" if base == "flux1" else f"base_{base.replace('-', '_')}"
    return importlib.import_module(name).SIZES


def replace(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def start(cache: Path) -> subprocess.Popen:
    """Start a process that imports what is needed and then waits for its variant."""
    # What is compiled is found again by all that share a cache.
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TRITON_CACHE_DIR": str(cache / "triton")}
    caches |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # nothing is downloaded
    words = [sys.executable, __file__, "--one"]
    return subprocess.Popen(words, stdin=subprocess.PIPE, text=True, env=os.environ | caches)


def run(
    name: str, args: argparse.Namespace, card: Card, folder: Path, left: float, ready: Callable
) -> dict:
    """Run one variant in its own process, for at most `left` seconds.

    Args:
        name: of the variant.
        args: of the command.
        card: watches the GPU.
        folder: for the files of the variant.
        left: seconds.
        ready: returns a process that waits for its variant; started here for a fresh one.
    """
    folder.mkdir()
    card.start()
    fresh = {**VARIANTS, **ON_REQUEST}[name].fresh
    started = time.monotonic()
    process = start(folder / "cache") if fresh else ready()
    call = {"name": name, "base": args.base, "size": args.size, "device": args.device}
    process.stdin.write(json.dumps({**call, "started": started, "folder": str(folder)}) + "\n")
    process.stdin.close()
    late = False
    try:
        process.wait(left)
    except subprocess.TimeoutExpired:
        late = True
        process.kill()
        process.wait()
    report = folder / "found.json"
    reason = "cut off: out of time" if late else f"ended with code {process.returncode}"
    found = json.loads(report.read_text()) if report.exists() else {"error": reason}
    held, seen = found.get("peak", {}), card.peak()
    if seen.get("process", 0.0) < held.get("reserved", 0.0):
        seen = {}  # it is looked at four times a second, and the peak fell between
    found["peak"] = held | seen
    return {**found, "took": time.monotonic() - started}


def with_shares(results: Mapping[str, dict]) -> dict[str, dict]:
    """Add each variant's share of the bf16 ceiling of the same run."""
    found = {name: dict(result) for name, result in results.items()}
    rate = found.get("ceiling", {}).get("tflops", {}).get("bf16", {}).get("median")
    for result in found.values():
        if rate and "tflop" in result:
            result["share"] = result["tflop"] / result["seconds"]["median"] / rate
    return found


def about(args: argparse.Namespace) -> dict[str, Any]:
    """Say what the figures were measured with."""
    words = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        # Where the file went says nothing about what was measured.
        "command": "python benchmarks/full_size.py"
        + (f" --base {args.base}" if args.base != "flux1" else "")
        + f" --variants {args.variants}"
        f" --seconds {args.seconds:g}",
        "commit": commit.stdout.strip(),
        "base": args.base,
        "size": args.size,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "diffusers")},
    }


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {**VARIANTS, **ON_REQUEST}
    today = datetime.date.today().isoformat()
    others = sorted(path.stem[5:].replace("_", "-") for path in HERE.glob("base_*.py"))
    parser.add_argument(
        "--base", choices=["flux1", *others], default="flux1", help="the base model"
    )
    parser.add_argument("--variants", help=f"{','.join(known)}; by default {','.join(VARIANTS)}")
    parser.add_argument(
        "--size",
        choices=["full", "tiny"],
        default="full",
        help="the size of the model: tiny tries the commands out",
    )
    parser.add_argument(
        "--seconds", type=float, default=86400, help="how long all variants together may take"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE / "results" / f"{today}.json",
        help="the JSON file for the figures",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="cuda, or cpu for --size tiny")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure()
        return
    args.device = args.device or ("cpu" if args.size == "tiny" else "cuda")
    # The naive loop and what is compared with it are FLUX.1's.
    usual = [name for name, v in VARIANTS.items() if args.base == "flux1" or v.module == "ours"]
    args.variants = args.variants or ",".join(usual)
    names = args.variants.split(",")
    if unknown := set(names) - set(known):
        parser.error(f"no variant {', '.join(sorted(unknown))}; there is {', '.join(known)}")
    names = list(dict.fromkeys(["ceiling", *names]))
    results: dict[str, dict] = {}
    skipped: list[str] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        card = Card(Path(temporary), args.device)
        shared = partial(start, Path(temporary) / "cache")
        # Each imports while the one before it measures: 15 to 25 s on a slow disk.
        waiting = [shared()]

        def ready() -> subprocess.Popen:
            waiting.append(shared())
            return waiting.pop(0)

        for name in names:
            left = args.seconds - (time.monotonic() - STARTED)
            if left < (known[name].seconds if args.size == "full" else 0):
                print(f"{name}: skipped, {left:.0f} s are left", flush=True)
                skipped.append(name)
                continue
            print(name, flush=True)
            results[name] = run(name, args, card, Path(temporary) / name, left, ready)
            print(f"  {summary(with_shares(results)[name])}", flush=True)
            content = {**about(args), "skipped": skipped, "results": with_shares(results)}
            args.out.parent.mkdir(parents=True, exist_ok=True)
            replace(args.out, content)
        card.stop()
        for process in waiting:
            process.kill()
            process.communicate()
    print(args.out)


def summary(result: Mapping[str, Any]) -> str:
    """Write one result in a line."""
    if "error" in result:
        return result["error"]
    if "seconds" not in result or "unit" not in result:
        return json.dumps({k: v for k, v in result.items() if k != "notes"})
    parts = [f"{result['seconds']['median']:.3f} s a {result['unit']}"]
    parts += [f"first after {result['first']:.1f} s"] if "first" in result else []
    parts += [f"{key} {value:.1f} GiB" for key, value in result["peak"].items()]
    if result.get("compiled") or result.get("captured"):
        parts.append(f"{result['compiled']} compiled, {result['captured']} captured")
    if "share" in result:
        parts.append(f"{100 * result['share']:.0f} % of the ceiling")
    if "whole" in result:
        parts.append(f"whole run {result['whole']:.1f} s")
    return ", ".join(parts)


if __name__ == "__main__":
    main()

"""Measure training and sampling at FLUX.1-dev's size, naive and ours, one process per variant.

    python benchmarks/full_size.py [--variants naive-train,train-80gb] [--seconds 580]

Needs a CUDA GPU and about 60 GB of memory, no weights: they are random. `--size tiny` tries the
commands out on a CPU. What is measured is in the JSON file after every variant; `table.py` turns
it into docs/performance.md.
"""

from __future__ import annotations

import argparse
import datetime
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

STARTED = time.monotonic()
# Nothing is downloaded.
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

import pairedit.flux  # noqa: E402, F401, I001  (first: it keeps transformers quiet)
import diffusers  # noqa: E402
import torch  # noqa: E402

import naive  # noqa: E402
import ours  # noqa: E402
from agreement import agreement  # noqa: E402
from measure import Bench, ceiling  # noqa: E402
from pairedit.data import replacing  # noqa: E402
from sizes import SIZES  # noqa: E402

HERE = Path(__file__).resolve().parent
GB = 10**9


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Hold one thing to measure."""

    run: Callable[[Bench], dict[str, Any]]
    seconds: float  # it takes about; it is not begun with less time left
    fresh: bool = False  # in a new interpreter, with nothing imported or compiled before


VARIANTS = {
    "ceiling": Variant(run=ceiling, seconds=15),
    "naive-train": Variant(run=naive.train, seconds=60),
    "train-80gb": Variant(run=partial(ours.train, name="80gb"), seconds=70),
    "train-80gb-whole": Variant(
        run=partial(ours.train, name="80gb", whole=True), seconds=150, fresh=True
    ),
    "naive-sample": Variant(run=naive.sample, seconds=70),
    "sample-80gb": Variant(run=partial(ours.sample, name="80gb"), seconds=60),
    "sample-fp8": Variant(run=partial(ours.sample, name="80gb", precision="fp8"), seconds=60),
    "agreement": Variant(run=agreement, seconds=80),
    "train-24gb": Variant(run=partial(ours.train, name="24gb", cap=24 * GB), seconds=80),
    "train-12gb": Variant(run=partial(ours.train, name="12gb", cap=12 * GB), seconds=110),
    "sample-80gb-seeds": Variant(run=partial(ours.sample, name="80gb", seeds=4), seconds=90),
    "sample-24gb": Variant(run=partial(ours.sample, name="24gb"), seconds=70),
}
ON_REQUEST = {
    "profile-train": Variant(run=partial(ours.train, name="80gb", profiled=True), seconds=70),
    "profile-naive": Variant(run=partial(naive.train, profiled=True), seconds=60),
    "profile-sample": Variant(run=partial(ours.sample, name="80gb", profiled=True), seconds=60),
    "profile-sample-fp8": Variant(
        run=partial(ours.sample, name="80gb", profiled=True, precision="fp8"), seconds=60
    ),
}


class Card:
    """Watch how much of the GPU's memory is taken, by everything, from outside the process."""

    def __init__(self, folder: Path, device: str) -> None:
        """Start to watch."""
        self._log = folder / "memory"
        self._process: subprocess.Popen | None = None
        if device == "cuda" and shutil.which("nvidia-smi"):
            query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "250"]
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(["nvidia-smi", "-i", "0", *query], stdout=log)
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


def measure(name: str, size: str, device: str, started: float, folder: Path) -> None:
    """Run one variant and write what it found, or its error, into its folder."""
    variant = {**VARIANTS, **ON_REQUEST}[name]
    # torch 2.11 with CUDA 13: its attention backward crashes on FLUX's shapes.
    torch.backends.cuda.enable_cudnn_sdp(False)
    bench = Bench(size=SIZES[size], device=torch.device(device), started=started, folder=folder)
    try:
        found = variant.run(bench)
        if device == "cuda":
            found["device"] = torch.cuda.get_device_name()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"[:500], "peak": bench.memory()}
    with replacing(folder / "found.json") as temporary:
        temporary.write_text(json.dumps(found))


def start(cache: Path) -> subprocess.Popen:
    """Start a process that imports what is needed and then waits for its variant."""
    # What is compiled is found again by all that share a cache.
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TRITON_CACHE_DIR": str(cache / "triton")}
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
    call = {"name": name, "size": args.size, "device": args.device}
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
    found["peak"] = found.get("peak", {}) | card.peak()
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
        "command": " ".join(["python benchmarks/full_size.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip(),
        "size": args.size,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {**VARIANTS, **ON_REQUEST}
    today = datetime.date.today().isoformat()
    parser.add_argument("--variants", default=",".join(VARIANTS), help="; also ".join(ON_REQUEST))
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--seconds", type=float, default=86400, help="for all of it")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{today}.json")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="cuda, or cpu for size tiny")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        line = sys.stdin.readline()
        if line:  # none where the other side has no more to measure
            call = json.loads(line)
            measure(**call | {"folder": Path(call["folder"])})
        return
    args.device = args.device or ("cpu" if args.size == "tiny" else "cuda")
    names = args.variants.split(",")
    if unknown := set(names) - set(known):
        parser.error(f"no variant {', '.join(sorted(unknown))}; there is {', '.join(known)}")
    names = list(dict.fromkeys(["ceiling", *names]))
    print(f"imported after {time.monotonic() - STARTED:.1f} s", flush=True)
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
            with replacing(args.out) as file:
                file.write_text(json.dumps(content, indent=1) + "\n")
        card.stop()
        for process in waiting:
            process.kill()
            process.wait()
    print(args.out)


def summary(result: Mapping[str, Any]) -> str:
    """Write one result in a line."""
    if "error" in result:
        return result["error"]
    if "seconds" not in result:
        return json.dumps({k: v for k, v in result.items() if k != "notes"})
    parts = [f"{result['seconds']['median']:.3f} s a {result['unit']}"]
    parts += [f"first after {result['first']:.1f} s"]
    parts += [f"{key} {value:.1f} GiB" for key, value in result["peak"].items()]
    if "share" in result:
        parts.append(f"{100 * result['share']:.0f} % of the ceiling")
    if "whole" in result:
        parts.append(f"whole run {result['whole']:.1f} s")
    return ", ".join(parts)


if __name__ == "__main__":
    main()

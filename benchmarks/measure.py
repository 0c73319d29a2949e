"""Own how things are measured: seconds, bytes, compilations, the work that a step has to do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import FluxTransformer2DModel
from torch._dynamo.utils import counters

from pairedit.machine import graphs
from pairedit.runs.tracking import Silent

if TYPE_CHECKING:
    from sizes import Amount, Size

GIB = 2**30
CLOCK = 256  # features that a noise level is embedded in, before FLUX's own layers
KERNELS = 60  # named in a profile


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Hold what every variant is told."""

    size: Amount
    device: torch.device
    started: float  # `time.monotonic` at which its process was started
    folder: Path  # for its files, empty

    @property
    def elapsed(self) -> float:
        """Return the seconds since the process was started."""
        return time.monotonic() - self.started

    def synchronize(self) -> None:
        """Wait for the GPU, where there is one."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def say(self, text: str) -> None:
        """Write a line of progress."""
        print(f"    {self.elapsed:6.1f} s  {text}", flush=True)

    def memory(self) -> dict[str, float]:
        """Return the peaks so far in GiB: of tensors, and of what torch took from the GPU."""
        if self.device.type != "cuda":
            return {}
        return {
            "allocated": torch.cuda.max_memory_allocated() / GIB,
            "reserved": torch.cuda.max_memory_reserved() / GIB,
        }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 10th and 90th percentile and count."""
    deciles = [*values]
    if len(values) > 1:
        deciles = statistics.quantiles(values, n=10, method="inclusive")
    median = statistics.median(values)
    return {"median": median, "p10": deciles[0], "p90": deciles[-1], "count": len(values)}


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Count the pieces of code that are compiled meanwhile, and the CUDA graphs captured.

    Yields:
        Both, once this has ended. A piece counts once, with its way back.
    """
    captures: list[int] = []

    class Counted(graphs._Captured):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            captures.append(1)

    kept, graphs._Captured = graphs._Captured, Counted
    before = counters["stats"]["unique_graphs"]
    found: dict[str, int] = {}
    try:
        yield found
    finally:
        graphs._Captured = kept
        found["compiled"] = counters["stats"]["unique_graphs"] - before
        found["captured"] = len(captures)


class Clock(Silent):
    """Note when each training step is over and, in a profile, what two of them do.

    A step is logged once its loss is there, by `fit` while the next one runs already, so that the
    time between two logs is one step; only the last comes early and is left out.
    """

    def __init__(self, bench: Bench, *, profiled: bool = False) -> None:
        """Start before the first step."""
        self._bench, self._profiled = bench, profiled
        self.times: list[float] = []
        self.losses: list[float] = []
        self.notes: dict[str, Any] = {}
        self._profile: Profile | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note one step."""
        self.losses.append(float(metrics["loss"]))  # waits for it
        self.times.append(self._bench.elapsed)
        warm = self._bench.size.warm_up
        if step in (1, warm) or step % 100 == 0:
            self._bench.say(f"step {step}")
        if step == warm:
            self.notes["peak_until_warm"] = self._bench.memory()
            if self._profiled:
                self._profile = Profile(self._bench)
        if step == warm + 2 and self._profile:
            self.notes["profile"] = self._profile.stop(steps=2)

    def report(self, flops: float) -> dict[str, Any]:
        """Return what was measured; `flops` is the work of one step."""
        warm = self._bench.size.warm_up
        seconds = [b - a for a, b in zip(self.times[:-1], self.times[1:], strict=True)]
        return {
            "unit": "step",
            "seconds": spread(seconds[warm - 1 : -1]),
            "first": self.times[0],
            "losses": self.losses[:8],
            "tflop": flops / 1e12,
            "peak": self._bench.memory(),
            "notes": self.notes,
        }


class Profile:
    """Record what the GPU does until `stop`."""

    def __init__(self, bench: Bench) -> None:
        """Start."""
        activities = [torch.profiler.ProfilerActivity.CPU]
        if bench.device.type == "cuda":
            activities = [torch.profiler.ProfilerActivity.CUDA]
        self._bench = bench
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()
        bench.synchronize()
        self._start = time.perf_counter()

    def stop(self, steps: int) -> dict[str, Any]:
        """Return the kernels that took most of the time, and the share in which none ran."""
        self._bench.synchronize()
        seconds = time.perf_counter() - self._start
        self._profiler.stop()
        totals: dict[str, list[float]] = {}
        spans = []
        for event in self._profiler.events():
            # On a CPU everything is nested: that says little, and suffices to try this out.
            gpu = event.device_type.name == "CUDA" and not event.is_user_annotation
            if self._bench.device.type == "cuda" and not gpu:
                continue
            span = event.time_range
            spans.append((span.start, span.end))
            total = totals.setdefault(event.name, [0.0, 0])
            total[0] += (span.end - span.start) / 1e3
            total[1] += 1
        busy, end = 0.0, 0.0
        for start, stop in sorted(spans):
            busy += max(0.0, stop - max(start, end))
            end = max(end, stop)
        ranked = sorted(totals.items(), key=lambda item: -item[1][0])[:KERNELS]
        return {
            "seconds": seconds / steps,
            "idle": 1 - busy / 1e6 / seconds,
            "kernels": [
                {"name": name[:120], "ms": ms / steps, "calls": calls / steps}
                for name, (ms, calls) in ranked
            ],
        }


def forward_flops(transformer: Any, image: int, text: int) -> float:
    """Count the matrix products of one row of one forward pass, 2 for a multiply-add.

    With D = heads * head dimension and S = image + text tokens, in multiply-adds:

        a double block      12 D^2 S + 2 S^2 D, and 12 D^2 of modulation
        a single block      12 D^2 S + 2 S^2 D, and 3 D^2 of modulation
        both ends           D (2 in_channels image + joint text + 2 D + pooled)
        noise and guidance  D (256 + D) each, D^2 for the pooled prompt

    Args:
        transformer: the config of a FluxTransformer2DModel.
        image: image tokens.
        text: text tokens.
    """
    d = transformer.num_attention_heads * transformer.attention_head_dim
    double, single = transformer.num_layers, transformer.num_single_layers
    total = (double + single) * _block(transformer, image + text)
    total += (12 * double + 3 * single) * d**2
    ends = 2 * transformer.in_channels * image + transformer.joint_attention_dim * text
    total += d * (ends + 2 * d + transformer.pooled_projection_dim)
    clocks = 2 if transformer.guidance_embeds else 1
    return 2.0 * (total + d * (clocks * (CLOCK + d) + d))


def training_flops(transformer: Any, image: int, text: int, rows: int) -> float:
    """Count one training step: forward, and backward to the inputs of frozen weights.

    Backwards a linear layer costs one product more, as its weights are frozen, and attention
    four where it cost two. LoRAs (0.3 %), and products that are done again to save memory, do not
    count. Two rows of FLUX.1-dev at 512 px and 512 text tokens: 89 TFLOP.
    """
    d = transformer.num_attention_heads * transformer.attention_head_dim
    blocks = transformer.num_layers + transformer.num_single_layers
    attention = 2 * (image + text) ** 2 * d
    backward = 2.0 * blocks * (_block(transformer, image + text) + attention)
    return rows * (forward_flops(transformer, image, text) + backward)


def _block(transformer: Any, tokens: int) -> float:
    """Count the multiply-adds of one block without its modulation; both kinds cost the same."""
    d = transformer.num_attention_heads * transformer.attention_head_dim
    return 12 * d**2 * tokens + 2 * tokens**2 * d


def tokens(size: Size) -> tuple[int, int]:
    """Return the image and text tokens of one row; a token covers 16 x 16 px."""
    return (size.resolution // 16) ** 2, size.length


def config(size: Size) -> Any:
    """Return the transformer's configuration."""
    with torch.device("meta"):
        return FluxTransformer2DModel(**size.transformer).config


def ceiling(bench: Bench) -> dict[str, Any]:
    """Measure how fast large random matrices are multiplied, in bf16 and fp8."""
    side, device = bench.size.matrix, bench.device
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    found = {"bf16": _rate(bench, lambda: a @ b)}
    if device.type == "cuda":
        one = torch.ones((), device=device)
        a8, b8 = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t()
        found["fp8"] = _rate(
            bench,
            lambda: torch._scaled_mm(a8, b8, one, one, out_dtype=a.dtype, use_fast_accum=True),
        )
    return {"unit": "ceiling", "tflops": found}


def _rate(bench: Bench, product: Callable[[], object]) -> dict[str, float]:
    """Return TFLOP/s over 20 times 10 products, after as many that warm up."""
    rates = []
    for index in range(40):
        bench.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            product()
        bench.synchronize()
        if index >= 20:
            rates.append(20 * bench.size.matrix**3 / 1e12 / (time.perf_counter() - start))
    return spread(rates)

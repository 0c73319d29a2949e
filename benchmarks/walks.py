"""Time what a pass of FLUX.1 is made of on a GPU: our kernels, whole passes, decoding.

    python benchmarks/walks.py [--parts heads,decoder,passes,passes-fp8] [--out FILE.json]

    heads     the kernels of `machine.head_kernels` by their settings, with the seconds that Triton
              takes to compile each, and the rate at which they read and write
    decoder   four pictures of 512 px, as diffusers decodes them and fused; group norms by settings
    passes    one row and four rows at FLUX.1-dev's size, one after the other for seconds, so that
              the GPU is as warm as in a rendering; and what kernels they consist of

Weights are random. What is measured is in the file after every line.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

from pairedit.bases.decoder import fuse_decoder
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine.hardware import profile
from sizes import FULL

HEADS, FEATURES, TOKENS, RANK = 24, 128, 1536, 16  # of FLUX.1-dev's single blocks at 512 px
STARTED = time.monotonic()


def milliseconds(function: Callable[[], object], *, times: int = 30) -> float:
    """Return the time of one call on the GPU, of several in a row."""
    for _ in range(3):
        function()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / times


def heads() -> Iterator[dict[str, Any]]:
    """Time the kernels of heads by their settings."""
    from pairedit.machine import head_kernels as kernels

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device="cuda").bfloat16()

    width = 3 * HEADS * FEATURES
    angles = [torch.rand(TOKENS, FEATURES, device="cuda") for _ in range(2)]
    norms = [torch.ones(FEATURES, device="cuda").bfloat16() for _ in range(2)]
    projected = {rows: random(rows, TOKENS, width) for rows in (2, 4)}
    parts = {rows: [random(rows, TOKENS, HEADS, FEATURES) for _ in range(5)] for rows in (2, 4)}
    sizes = {rows: torch.rand(2, rows, TOKENS, HEADS, device="cuda") for rows in (2, 4)}

    def there(rows: int, rank: int) -> Callable[[], None]:
        loras = (random(rows, TOKENS, 3 * rank), random(width, 3 * rank), [rank] * 3)
        heads = (*parts[rows][:3], sizes[rows])
        return lambda: kernels.to_heads(projected[rows], loras, norms, angles, 1e-6, 0, heads)

    def back() -> None:
        return kernels.from_heads(parts[2][:3], parts[2][3:], sizes[2], norms, angles, 0, TOKENS)

    cases = {
        "there, 4 rows": there(4, RANK),
        "there, 4 rows, no LoRA": there(4, 0),
        "there, 2 rows, 2 LoRAs": there(2, 2 * RANK),
        "back, 2 rows": back,
    }
    settings = [(16, 12, 1, 3, 4), (16, 12, 1, 2, 4), (16, 12, 1, 1, 4), (16, 12, 12, 1, 4)]
    settings += [(16, 24, 1, 3, 4), (16, 6, 1, 3, 4), (16, 4, 1, 2, 4), (16, 2, 1, 1, 4)]
    settings += [(32, 12, 1, 3, 4), (32, 12, 1, 3, 8), (32, 6, 1, 2, 8), (64, 6, 1, 2, 8)]
    settings += [(16, 12, 1, 3, 2), (16, 12, 2, 2, 4), (16, 12, 1, 4, 4), (16, 6, 1, 4, 2)]
    settings += [(32, 4, 1, 2, 4), (16, 12, 4, 2, 4), (32, 12, 2, 2, 8), (16, 24, 1, 4, 8)]
    names = ("TOKENS", "HEADS", "UNROLLED", "STAGES", "WARPS")
    for setting in settings:
        for name, value in zip(names, setting, strict=True):
            setattr(kernels, name, value)
        found: dict[str, Any] = {"heads": dict(zip(names, setting, strict=True))}
        for name, case in cases.items():
            begun = time.perf_counter()
            try:
                case()
                torch.cuda.synchronize()
                compiled = time.perf_counter() - begun
                took = milliseconds(case)
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"[:200]
                continue
            rows = 4 if "4 rows" in name else 2
            walked = 8 if name.startswith("back") else 6  # tensors: value's head is not read again
            moved = walked * rows * TOKENS * HEADS * FEATURES * 2
            found[name] = {
                "microseconds": round(1000 * took, 1),
                "TB/s": round(moved / took / 1e9, 2),
                "compiled in": round(compiled, 2),
            }
        yield found


def decoder() -> Iterator[dict[str, Any]]:
    """Time decoding, and the kernels of group norms by their settings."""
    from pairedit.machine import norm_kernels as kernels

    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4}
    kinds |= {"up_block_types": ["UpDecoderBlock2D"] * 4}
    plain = AutoencoderKL(**kinds, **FULL.vae).decoder.eval().requires_grad_(False)
    fused = copy.deepcopy(plain)
    fuse_decoder(fused)
    plain, fused = (part.to("cuda", torch.bfloat16) for part in (plain, fused))
    plain.mid_block.attentions[0].register_forward_hook(lambda *given: given[-1].contiguous())
    latents = torch.randn(4, 16, 64, 64, device="cuda").bfloat16()
    with torch.no_grad():
        pictures = [part(latents).float() for part in (plain, fused)]
        apart = (pictures[0] - pictures[1]).norm() / pictures[0].norm()
        yield {"decoder": "they are apart by", "relative": float(apart)}
        for name, part in (("plain", plain), ("fused", fused)):
            yield {"decoder": name, "ms": milliseconds(lambda part=part: part(latents), times=10)}
        yield {"decoder": "kernels, fused", "kernels": kernels_of(lambda: fused(latents))}
        for held, splits, warps in product((16, 32, 64), (32, 64, 128), (4, 8)):
            kernels.PIXELS, kernels.SPLITS, kernels.WARPS = held, splits, warps
            took = milliseconds(lambda: fused(latents), times=10)
            yield {"decoder": {"PIXELS": held, "SPLITS": splits, "WARPS": warps}, "ms": took}


def passes(precision: str = "bf16") -> Iterator[dict[str, Any]]:
    """Time passes of one row and of four at full size, and decoding beside them."""
    hardware = replace(profile("80gb"), precision=precision)
    flux = FULL.opened(torch.device("cuda"), hardware)
    text, sigmas = flux.text([""]), flux.sigmas(FULL.image, FULL.steps)
    flux.prepare(sigmas, text, 3.5)
    adapters = Adapters(flux)
    generator = torch.Generator().manual_seed(0)
    adapters.add("x", rank=RANK, alpha=1.0, targets="attention", generator=generator)
    for up in adapters.parameters("x")[1::2]:
        up.data.normal_(std=0.01)
    with flux.sampling() as run, torch.no_grad():
        for rows, scales in ((1, {}), (4, {"x": 1.0})):
            latents = torch.randn(rows, *flux.latent_shape(FULL.image), device="cuda")
            one = flux.at(sigmas[12], text.of([""] * rows), 3.5)
            call = partial(run, one.key, one, latents, *one.inputs)
            with adapters.rows([Row(scales=scales)] * rows):
                call()
                took = milliseconds(call, times=80 // rows)
                found = kernels_of(call)
            yield {"passes": precision, "rows": rows, "ms": took, "kernels": found}
        decoded = milliseconds(partial(flux.decode, latents), times=10)
        yield {"passes": precision, "decoding of 4": decoded}


def kernels_of(function: Callable[[], object], *, times: int = 3) -> list[tuple[str, float, float]]:
    """Return what a call consists of: name, milliseconds and number of each kernel."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(times):
            function()
        torch.cuda.synchronize()
    totals: dict[str, list[float]] = {}
    for event in profiler.events():
        if event.device_type.name == "CUDA" and not event.is_user_annotation:
            total = totals.setdefault(event.name[:100], [0.0, 0])
            total[0] += (event.time_range.end - event.time_range.start) / 1e3 / times
            total[1] += 1 / times
    ranked = sorted(totals.items(), key=lambda item: -item[1][0])[:45]
    return [(name, round(took, 3), round(calls, 1)) for name, (took, calls) in ranked]


PARTS = {
    "heads": heads,
    "decoder": decoder,
    "passes": passes,
    "passes-fp8": partial(passes, "fp8"),
}


def main() -> None:
    """Measure what was asked for, for as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure")
    parser.add_argument("--seconds", type=float, default=86400, help="how long it may take")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("needs a GPU")
    # torch 2.11 with CUDA 13: its attention backward crashes on FLUX's shapes.
    torch.backends.cuda.enable_cudnn_sdp(False)
    results: list[dict[str, Any]] = []
    for part in args.parts.split(","):
        try:
            for found in PARTS[part]():
                print(json.dumps(found)[:600], flush=True)
                results.append(found)
                if args.out:
                    args.out.write_text(json.dumps(results, indent=1) + "\n")
                if time.monotonic() - STARTED > args.seconds:
                    print("out of time", flush=True)
                    return
        except Exception as error:
            print(f"{part}: {type(error).__name__}: {error}"[:600], flush=True)


if __name__ == "__main__":
    main()

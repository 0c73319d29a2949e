"""Own the measured runs of pairedit itself: `fit` and `generate`, as the commands call them."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from measure import Bench, Clock, Profile, spread
from naive import ALPHA, GUIDANCE, RANK, ROLES, SCALES
from pairedit.bases.base import Base
from pairedit.data.examples import find_pairs
from pairedit.files import locate
from pairedit.lora.adapters import find_modules
from pairedit.lora.file import read_lora, write_lora
from pairedit.lora.names import Names
from pairedit.machine.hardware import Hardware, profile
from pairedit.methods import Graded, PairEdit
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training
from pairedit.train import fit
from sizes import Amount


def hardware(bench: Bench, name: str, **changes: Any) -> Hardware:
    """Return a profile with changes; on a CPU, where this is only tried out, its plain parts."""
    found = replace(profile(name), **changes)
    if bench.device.type == "cpu":
        return replace(found, precision="float32", compile=False, graphs=False)
    return replace(found, precision="bf16") if found.precision == "auto" else found


def opened(bench: Bench, size: Amount, wanted: Hardware) -> Base:
    """Build a model of one size."""
    bench.say(str(wanted))
    return size.opened(bench.device, wanted)


def limit(bench: Bench, cap: float) -> None:
    """Let torch take no more than `cap` bytes of the GPU; 0 for all."""
    if cap and bench.device.type == "cuda":
        total = torch.cuda.get_device_properties(bench.device).total_memory
        torch.cuda.set_per_process_memory_fraction(cap / total)


def train(
    bench: Bench,
    *,
    name: str,
    cap: float = 0.0,
    profiled: bool = False,
    whole: bool = False,
    default: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Measure training.

    Args:
        bench: what to measure on.
        name: of the hardware profile.
        cap: bytes of the GPU that torch may take; 0 for all.
        profiled: record two steps.
        whole: a whole run up to its LoRA files.
        default: by method=graded in its own number of steps, not the published method.
        changes: fields of the profile that differ.
    """
    size, wanted = bench.size, hardware(bench, name, **changes)
    limit(bench, cap)
    clock = Clock(bench, profiled=profiled)
    model = opened(bench, size, wanted)
    built = bench.elapsed
    steps = size.warm_up + size.timed
    if whole:
        steps = size.whole_default if default else size.whole
    fit(
        base=model,
        method=Graded() if default else PairEdit(),
        pairs=find_pairs(locate("pkg://data/age")),
        settings=Training(
            steps=steps,
            size=size.image,
            num_inference_steps=size.steps,
            end_step=size.steps - 1,
        ),
        folder=bench.folder,
        run=clock,
        metadata={},
    )
    written = bench.elapsed
    bench.say("LoRA files written")
    found = clock.report(size.training(len(ROLES)))
    found["hardware"] = str(wanted)
    found["notes"]["seconds_at"] = {
        "model built": built,
        "first step": clock.times[0],
        "last step": clock.times[-1],
        "files written": written,
    }
    if cap:
        found["notes"]["cap_gib"] = cap / 2**30
    if whole:
        found |= {"whole": written, "files": sorted(p.name for p in bench.folder.glob("*.s*"))}
    return found


def sample(
    bench: Bench,
    *,
    name: str,
    seeds: int = 1,
    cap: float = 0.0,
    profiled: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Measure rows of images in one call of `generate`.

    Args:
        bench: what to measure on.
        name: of the hardware profile.
        seeds: rows in flight at once.
        cap: bytes of the GPU that torch may take; 0 for all.
        profiled: record the second row, which then has two steps.
        changes: fields of the profile that differ.
    """
    size, wanted = bench.size, hardware(bench, name, **changes)
    limit(bench, cap)
    if profiled:
        size = replace(size, steps=2, skip=1, rows=1)
    wanted = replace(wanted, batch_size=min(wanted.batch_size, seeds * len(SCALES)))
    model = opened(bench, size, wanted)
    path = bench.folder / "random.safetensors"
    write_lora(
        path,
        random_lora(model.transformer, model.names, seed=0, folded=True),
        {},
        names=model.names,
    )
    marks: list[float] = []
    notes: dict[str, Any] = {}
    recording = None
    images = generate(
        model,
        sliders=[Slider(lora=read_lora(path, model.names), scales=SCALES)],
        prompts=[size.prompt],
        seeds=range(seeds * (size.rows + 2)),
        rendering=Rendering(
            skip=size.skip,
            num_inference_steps=size.steps,
            guidance_scale=GUIDANCE,
            size=size.image,
        ),
    )
    for count, _ in enumerate(images, start=1):
        if count % (seeds * len(SCALES)) == 0:
            marks.append(bench.elapsed)
            bench.say(f"row {len(marks)} of {seeds} seeds")
            if recording:
                notes["profile"] = recording.stop(steps=2)
                recording = None
            elif profiled:
                recording = Profile(bench)
                profiled = False
    one = size.forward() * (1 + bool(model.guidance.weights(GUIDANCE)[1]))
    # A row's images come once the next row has begun. The last row has no next one.
    marks.pop()
    return {
        "unit": "row",
        "seconds": spread([(b - a) / seeds for a, b in pairwise(marks)]),
        "first": marks[0],
        "tflop": one * (size.skip + len(SCALES) * (size.steps - size.skip)) / 1e12,
        "peak": bench.memory(),
        "hardware": str(wanted),
        "notes": notes,
    }


def random_lora(
    transformer: nn.Module, names: Names, *, seed: int, folded: bool
) -> dict[str, tuple[Tensor, Tensor]]:
    """Draw a LoRA that moves every attention projection by about a tenth.

    Args:
        transformer: with or without LoRAs.
        names: of its modules.
        seed: of the weights.
        folded: with alpha / rank in B, as files have it.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for module in find_modules(transformer, "attention", names):
        layer = transformer.get_submodule(module)
        down = torch.randn(RANK, layer.in_features, generator=generator)
        up = torch.randn(layer.out_features, RANK, generator=generator)
        up = 0.4 * up * (ALPHA / RANK if folded else 1)
        weights[module] = (down / math.sqrt(layer.in_features), up)
    return weights

"""Own the measured run on pictures of three shapes: how often it compiles, how fast each shape is.

A step learns from one pair, so every step has one size. What counts is the time of a pixel, and
that a size costs one compilation of each kind of block at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch._dynamo.utils import counters

from measure import Bench, Clock, spread
from ours import hardware, opened
from pairedit.data.examples import Pair, find_pairs
from pairedit.data.images import read_image
from pairedit.data.shapes import Fit
from pairedit.files import locate
from pairedit.methods import Graded, Step, Term
from pairedit.settings import Size, Training
from pairedit.train import fit

SHAPES = {"square": (1, 1), "tall": (2, 3), "wide": (16, 9)}  # width and height
WARM = 2  # steps of each size that compile or capture


@dataclass(kw_only=True)
class Watched:
    """Note the latent size of every step of a method, and the graphs compiled by then."""

    learns_from: ClassVar[type] = Pair
    method: Graded = field(default_factory=Graded)
    seen: list[Size] = field(default_factory=list)
    compiled: list[int] = field(default_factory=list)

    @property
    def roles(self) -> tuple[str, ...]:
        """Name the LoRAs to train."""
        return self.method.roles

    def terms(self, step: Step) -> Sequence[Term]:
        """List the method's terms."""
        self.seen.append(tuple(step.noise.shape[1:]))
        self.compiled.append(counters["stats"]["unique_graphs"])
        return self.method.terms(step)


def train(bench: Bench, *, name: str, shapes: Sequence[str], **changes: Any) -> dict[str, Any]:
    """Measure training on one pair of each shape.

    Args:
        bench: what to measure on.
        name: of the hardware profile.
        shapes: of `SHAPES`.
        changes: fields of the profile that differ.
    """
    size, wanted = bench.size, hardware(bench, name, **changes)
    model = opened(bench, size, wanted)
    watched, clock = Watched(), Clock(bench)
    fit(
        base=model,
        method=watched,
        pairs=find_pairs(draw(bench.folder / "pairs", shapes, 2 * size.resolution)),
        settings=Training(
            steps=(size.warm_up + size.timed) * len(shapes),
            size=Fit(resolution=size.resolution, unit=16),
            num_inference_steps=size.steps,
            end_step=size.steps - 1,
        ),
        folder=bench.folder,
        run=clock,
        metadata={},
    )
    seconds = [b - a for a, b in zip(clock.times[:-1], clock.times[1:], strict=True)]
    sizes = {}
    for latent in dict.fromkeys(watched.seen):
        steps = [n for n, seen in enumerate(watched.seen[:-1]) if seen == latent and n]
        taken = [seconds[n - 1] for n in steps[WARM:]] or [seconds[n - 1] for n in steps]
        found = spread(taken or [float("nan")])
        key = f"{latent[1]} x {latent[0]}"
        sizes[key] = {"seconds": found, "per_pixel": found["median"] / (latent[0] * latent[1])}
    return {
        "unit": "step",
        "seconds": next(iter(sizes.values()))["seconds"],
        "sizes": sizes,
        "compiled_by_step": watched.compiled,
        "hardware": str(wanted),
        "peak": bench.memory(),
        "notes": clock.notes,
    }


def draw(folder: Path, shapes: Sequence[str], side: int) -> Path:
    """Write a pair of each shape, of about side * side px."""
    shipped = find_pairs(locate("pkg://data/age"))
    for shape, pair in zip(shapes, shipped, strict=False):
        width, height = SHAPES[shape]
        unit = side / (width * height) ** 0.5
        for name, path in (("source", pair.source), ("target", pair.target)):
            place = folder / name / f"{shape}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = round(width * unit), round(height * unit)
            read_image(path).resize(pixels).save(place)
    return folder

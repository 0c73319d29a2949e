"""Own how a base model uses the machine: in which precision, and what is traded for what.

A profile is a file of `conf/hardware`; `auto` stands for the one that fits. Nothing here imports
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from pairedit.files import CONF
from pairedit.problems import check
from pairedit.settings import LARGEST

AUTO = "auto"
PRECISIONS = ("float32", "bf16", "fp8", "int8", "nf4")
# Each needs less memory, and more time, than the one before.
PROFILES = ("80gb", "24gb", "12gb", "8gb")
# Steps from which compiling pays where each rounding is an operation of its own until then.
ROUNDED = 250
SMALL = 1e9  # parameters; smaller models wait for the CPU, and are not worth compiling


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Say how a base model runs; the defaults keep everything plain."""

    name: str = "plain"
    precision: str = AUTO  # of the base: one of `PRECISIONS`, or the model's own
    batch_size: int = 8  # images in one forward pass of sampling
    batch_terms: bool = True  # all terms of a training step as one batch
    gradient_checkpointing: float = 0.0  # share of the blocks that run again in the backward pass
    swapped: float = 0.0  # share of the blocks that come to the GPU for their turn only
    fused: bool = False  # fewer, larger operations; see `bases.flux1.place`
    compile: bool = False  # the blocks, by torch.compile
    dynamic: bool = False  # compiled once for all sizes of image, not once for each
    compile_from: int = ROUNDED  # steps of a training; in fewer compiling takes more than it saves
    steps: int | None = None  # of the training it is for, for each size; None where none is
    graphs: bool = False  # a pass becomes one CUDA graph

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            Invalid: names every field.
        """
        share = self.gradient_checkpointing
        check(
            self,
            precision=(self.precision in (AUTO, *PRECISIONS), ", ".join((AUTO, *PRECISIONS))),
            batch_size=(
                isinstance(self.batch_size, int) and 1 <= self.batch_size <= LARGEST,
                f"at least 1 and at most {LARGEST}",
            ),
            gradient_checkpointing=(
                isinstance(share, bool | int | float) and 0 <= share <= 1,
                "true, false or a share of the blocks",
            ),
            swapped=(0 <= self.swapped <= 1, "0 to 1"),
            compile_from=(self.compile_from >= 0, "0 or more"),
            graphs=(
                not self.graphs or (self.fused and not self.swapped),
                "fused=true and swapped=0 with it",
            ),
        )

    @property
    def pays_from(self) -> int:
        """Return the steps of a training from which compiling pays; `compile_from` is for bf16."""
        rounded = self.precision in ("fp8", "int8", "nf4")
        return min(self.compile_from, ROUNDED) if rounded else self.compile_from


def profile(name: str) -> Hardware:
    """Read one profile of `conf/hardware`."""
    values = yaml.safe_load((CONF / "hardware" / f"{name}.yaml").read_text(encoding="utf-8"))
    return Hardware(**{key: value for key, value in values.items() if key != "_target_"})


def choose(
    hardware: Hardware,
    *,
    device: str,
    free: float,
    parameters: int,
    precision: str,
    changes: Mapping[str, Any],
    needs: Mapping[str, float],
) -> Hardware:
    """Settle what is left open, once device and model are known.

    Args:
        hardware: a profile, or `auto`.
        device: cpu, cuda or mps.
        free: GiB of the device's memory; only of interest for cuda.
        parameters: of the transformer.
        precision: float32 or bf16, which `auto` stands for.
        changes: fields that the user set apart from the profile.
        needs: GiB that must be free for each profile of this base, most first; the last needs none.

    Raises:
        ValueError: the profile or the precision needs a GPU.
    """
    chosen = hardware
    if hardware.name == AUTO:
        if device != "cuda":
            chosen = replace(hardware, name="plain")
        elif parameters < SMALL:
            chosen = replace(profile(PROFILES[0]), name="small", compile=False)
        else:
            chosen = profile(next(name for name, needed in needs.items() if free >= needed))
    elif device != "cuda" and hardware.name in PROFILES:
        raise ValueError(f"hardware={hardware.name}: needs a GPU, and this run is on {device}")
    chosen = replace(chosen, **changes)
    if chosen.precision == "fp8" and device != "cuda":
        raise ValueError(f"precision=fp8: needs a GPU, and this run is on {device}")
    if chosen.steps is not None and chosen.steps < chosen.pays_from:
        chosen = replace(chosen, compile=False)
    return replace(chosen, precision=precision) if chosen.precision == AUTO else chosen

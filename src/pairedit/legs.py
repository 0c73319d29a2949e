"""Own how a run is cut: which sliders act at which steps, and how strongly, in every column.

A column is one scale for each slider. Every slider acts from its own `skip` on, as strongly as its
schedule says; see `schedules` and `local`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from pairedit.lora.file import LoraFile
from pairedit.schedules import strength
from pairedit.settings import PIXELS, Local, Rendering, step_of

SLIDER = "slider_{}"  # name of an attached LoRA
Cell = tuple[int, int]  # lane and column


@dataclass(frozen=True, kw_only=True)
class Slider:
    """Hold one LoRA and its scale in every column."""

    lora: LoraFile | None
    scales: tuple[float, ...]
    skip: int | float | None = None  # as `Rendering.skip`; None: as the run's
    unit: float = 1.0  # multiplies every scale; a calibrated slider's is one pair's worth
    local: Local = False  # keep the picture of scale 0 where the slider changes little
    lean: float = 0.0  # to the early (1) or late (-1) steps; see `schedules`
    flowedit: bool = False  # edit the finished picture, if all that act together do; see `flowedit`
    attached: str | None = None  # its name in the model, where it is there already

    @property
    def name(self) -> str:
        """Name the edit for captions: by its dataset, or by the file where that is unknown."""
        return str(self.lora.metadata.get("dataset") or self.lora.path.stem)


@dataclass(frozen=True, kw_only=True)
class Leg:
    """Hold the steps between two forks, and the sliders that are on in each column."""

    begin: int
    end: int
    scales: tuple[Mapping[str, float], ...]  # by column
    local: tuple[Local, ...]  # by column: as far as every slider that is on in it is local


@dataclass(frozen=True, kw_only=True)
class Way:
    """Say which columns there are, and how a lane gets to them."""

    finished: bool  # from the finished picture of scale 0; else from a fork on the path
    columns: Sequence[tuple[float, ...]]
    shown: int  # columns that are asked for, the first ones

    @property
    def zero(self) -> int:
        """Return the first column at scale 0, which those that need one have."""
        return next(k for k, scales in enumerate(self.columns) if not any(scales))


def columns_of(
    sliders: Sequence[Slider], *, anchored: bool = False
) -> tuple[list[tuple[float, ...]], int]:
    """List the scales of every column, and say how many of them are asked for.

    Local sliders, masks and FlowEdit need a column at scale 0; where nobody asked for one, it
    comes last.

    Args:
        sliders: with equally many scales.
        anchored: a column at scale 0 is needed in any case.
    """
    columns = list(zip(*(slider.scales for slider in sliders), strict=True)) or [()]
    compared = anchored or any(slider.local for slider in sliders)
    needed = compared and all(map(any, columns))
    return columns + [(0.0,) * len(sliders)] * needed, len(columns)


def cut(
    sliders: Sequence[Slider],
    columns: Sequence[tuple[float, ...]],
    rendering: Rendering,
    sigmas: Tensor,
    *,
    stepwise: bool = False,
) -> list[Leg]:
    """Cut the run where sliders set in, and where something is to be done at every step.

    Sliders at scale 0 cost nothing. A column is local if all that act in it are, and in pixels
    alone if one of them is in pixels alone.

    Args:
        sliders: with a scale for each column.
        columns: their scales.
        rendering: its `skip` is that of sliders that have none of their own.
        sigmas: float32 [steps + 1], of the run.
        stepwise: something is to be done at every step in any case.
    """
    steps = rendering.num_inference_steps
    skips = [
        step_of(rendering.skip if slider.skip is None else slider.skip, sigmas)
        for slider in sliders
    ]
    forks = sorted(set(skips)) or [step_of(rendering.skip, sigmas)]
    if stepwise or any(slider.local is True or slider.lean for slider in sliders):
        forks = list(range(forks[0], steps))

    def on(column: tuple[float, ...], begin: int) -> dict[str, float]:
        placed = enumerate(zip(sliders, column, skips, strict=True))
        return {
            slider.attached or SLIDER.format(index): slider.unit
            * scale
            * strength(slider.lean, begin, first, steps)
            for index, (slider, scale, first) in placed
            if scale and first <= begin
        }

    def least(column: tuple[float, ...]) -> Local:
        ways = [slider.local for slider, scale in zip(sliders, column, strict=True) if scale]
        if not ways or not all(ways):
            return False
        return PIXELS if PIXELS in ways else True

    local = tuple(map(least, columns))
    return [
        Leg(
            begin=begin,
            end=end,
            scales=tuple(on(column, begin) for column in columns),
            local=local,
        )
        for begin, end in pairwise([*forks, steps])
    ]

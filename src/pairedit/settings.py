"""Own the numbers of a training and of a rendering, independent of model, method and data.

All their defaults and bounds are here. What relates them to a model is in the plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pairedit.problems import check

if TYPE_CHECKING:
    from torch import Tensor

    from pairedit.data.shapes import Sizing

Size = tuple[int, int]  # height and width in px, multiples of the base's unit
PIXELS = "pixels"  # finished pictures alone, not latents on their way
Local = bool | Literal["pixels"]  # where a slider changes little, the picture stays: see `local`

LARGEST = 8192  # px, rank, rows or tokens: beyond any model's use, before any memory runs out
MOST_STEPS = 1000  # of an inference run
LAST_SEED = 2**63 - 1  # that torch takes
# Beyond, AdamW's own arithmetic overflows.
MOST = 1e30
POSITIVE = f"a number above 0 and at most {MOST:g}"


@dataclass(frozen=True, kw_only=True)
class Training:
    """Hold the numbers of a training run."""

    steps: int = 500
    learning_rate: float = 2e-3
    rank: int = 16
    alpha: float = 1.0
    targets: str | tuple[str, ...] = "attention"
    size: Sizing = (512, 512)  # of every example, or what finds it by the example's shape
    num_inference_steps: int = 28
    start_step: int | float = 0  # or the noise level at and below which steps are drawn
    end_step: int = 27  # inclusive
    guidance_scale: float | None = 3.5
    seed: int = 0
    save_every: int = 0  # updates between checkpoints; 0 writes none
    snapshots: bool = False  # keep the LoRA files of every checkpoint
    latents: str = "mode"  # mode or sample of the VAE's posterior

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            Invalid: names every field.
        """
        last = self.num_inference_steps - 1
        level = isinstance(self.start_step, float)
        below = f"{last}, below num_inference_steps={self.num_inference_steps}"
        check(
            self,
            steps=(self.steps >= 0, "at least 1"),  # or 0, of a LoRA that starts from another
            learning_rate=(0 < self.learning_rate <= MOST, POSITIVE),
            rank=(1 <= self.rank <= LARGEST, f"at least 1 and at most {LARGEST}"),
            alpha=(0 < self.alpha <= MOST, POSITIVE),
            num_inference_steps=_step_count(self.num_inference_steps),
            start_step=(
                is_skip(self.start_step, self.num_inference_steps),
                f"0 to {below}; or a noise level between 0 and 1, such as 0.75",
            ),
            end_step=(
                (0 if level else self.start_step) <= self.end_step <= last,
                f"{'0' if level else f'start_step={self.start_step}'} to {below}",
            ),
            guidance_scale=_guidance(self.guidance_scale),
            seed=(is_seed(self.seed), SEED),
            save_every=(
                0 <= self.save_every <= max(self.steps, 0),
                f"0 (no checkpoints) to steps={self.steps}",
            ),
            latents=(self.latents in ("mode", "sample"), "mode or sample"),
        )

    def drawn(self, sigmas: Tensor) -> range:
        """Return the steps that are drawn from, given the noise levels of a run.

        Raises:
            ValueError: the one that training begins with lies behind the one that it ends with.
        """
        first = step_of(self.start_step, sigmas)
        if first > self.end_step:
            raise ValueError(
                f"start_step={self.start_step}: is step {first} here, behind "
                f"end_step={self.end_step}"
            )
        return range(first, self.end_step + 1)


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Hold the numbers of a rendering."""

    skip: int | float = 0  # steps without slider, or the noise level below which it acts
    num_inference_steps: int = 28
    guidance_scale: float | None = 3.5
    negative_prompt: str = ""  # that true guidance leads away from
    size: Size = (512, 512)  # of what has no shape of its own; a photograph has one

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            Invalid: names every field.
        """
        steps = self.num_inference_steps
        check(
            self,
            num_inference_steps=_step_count(steps),
            skip=(is_skip(self.skip, steps), skips(steps)),
            guidance_scale=_guidance(self.guidance_scale),
        )


@dataclass(frozen=True, kw_only=True)
class Use:
    """Say how one slider is sampled with."""

    skip: int | float | None = None  # as `Rendering.skip`; None: as the run's
    local: Local = False  # keep the picture of scale 0 where the slider changes little
    lean: float = 0.0  # to the early (1) or late (-1) steps; see `schedules`
    flowedit: bool = False  # edit the finished picture of scale 0; see `flowedit`

    def __str__(self) -> str:
        """Write the words of a command line that ask for it."""
        schedule = {1: "early", 0: "flat", -1: "late"}.get(self.lean, f"{self.lean:g}")
        words = {"skip": self.skip, "local": str(self.local).lower(), "schedule": schedule}
        words |= {"flowedit": "true"} if self.flowedit else {}
        return " ".join(f"{key}={value}" for key, value in words.items() if value is not None)


def scale_text(scale: float) -> str:
    """Write a scale that was found, alike wherever it stands: in hundredths, or two digits.

    One scale may be a float32 here and a number of six digits there, so both are rounded alike.
    """
    value = round(float(scale), 6)
    return f"{value:.2g}" if abs(value) < 0.1 else f"{value:.2f}".rstrip("0").rstrip(".")


def is_local(value: Any) -> bool:
    """Say whether a value is a way of keeping the picture of scale 0."""
    return isinstance(value, bool) or value == PIXELS


def is_skip(skip: float, steps: int) -> bool:
    """Say whether `skip` is a step of a run, or a noise level: a number below 1 with a point."""
    return 0 < skip < 1 if isinstance(skip, float) else 0 <= skip < steps


def skips(steps: int) -> str:
    """Say what `skip` may be."""
    return (
        f"0 <= skip < num_inference_steps={steps}, or the LoRA never acts; "
        "or a noise level between 0 and 1, such as 0.75"
    )


def step_of(skip: int | float, sigmas: Tensor) -> int:
    """Return the step at which sliders set in, or from which on a training draws.

    Args:
        skip: a step, or the noise level below which they act: the step that is nearest to it.
        sigmas: float32 [steps + 1], falling.
    """
    if isinstance(skip, int):
        return skip
    return int((sigmas[:-1] - skip).abs().argmin())


SEED = "0 to 2**63 - 1"


def is_seed(seed: int) -> bool:
    """Say whether torch takes a seed."""
    return 0 <= seed <= LAST_SEED


def _step_count(steps: int) -> tuple[bool, str]:
    return 1 <= steps <= MOST_STEPS, f"1 to {MOST_STEPS}"


def _guidance(scale: float | None) -> tuple[bool, str]:
    return scale is None or 0 <= scale < math.inf, "0 or more"

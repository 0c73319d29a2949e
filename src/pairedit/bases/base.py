"""Own the seam to base models: all that plan, trainer, sampler and evaluation know of a model.

Before its weights are read, a base is a `Model`: an option of `conf/model`, whose `_target_` says
the architecture. A loaded base is a `Base`. Its `Pass` gives the velocity at one noise level.
Another architecture needs one more folder beside this file.
Shape letters: B rows, C h w the base's own latent, H and W pixels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pairedit.bases.guidance import EMBEDDED, Guidance
from pairedit.bases.licence import Licence
from pairedit.files import locate
from pairedit.problems import check
from pairedit.settings import LARGEST, Size, Training

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pairedit.lora.names import Names
    from pairedit.machine.hardware import Hardware

KEPT = 1  # models of one architecture in a process: a large one leaves no room for another


@dataclass(frozen=True, kw_only=True)
class Model:
    """Name a base model, and the numbers that it is used with by default."""

    guidance: ClassVar[Guidance] = EMBEDDED
    pipeline: ClassVar[str] = ""  # the pipeline that its folder holds, by its model_index.json
    licences: ClassVar[Mapping[str, Licence]] = {}  # by the name of the option
    widths: ClassVar[Mapping[str, int]] = {}  # features of a token, by the name of the option
    wide: ClassVar[tuple[str, ...]] = ()  # entries of a transformer's config: their product is it

    name: str
    path: str  # a folder, pkg://<folder shipped with pairedit>, or a model hub id
    resolution: int  # px
    num_inference_steps: int
    skip: int | float  # steps of a rendering without LoRA, or the noise level below which it acts
    guidance_scale: float | None  # None: the model takes none
    max_sequence_length: int  # tokens of a prompt
    precision: str  # float32 or bf16 on an accelerator; a CPU runs float32
    prompt: str  # rendered when no prompt is given
    inversion_steps: int = 1500  # steps of method=inversion
    start_step: int | float = 0  # of a training; see `Training`
    learning_rate: float = Training.learning_rate
    rank: int = Training.rank
    train_on: str | None = None  # the option whose sliders it renders; None: it trains its own

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            Invalid: names every field.
        """
        check(
            self,
            precision=(self.precision in ("float32", "bf16"), "float32 or bf16"),
            max_sequence_length=(1 <= self.max_sequence_length <= LARGEST, f"1 to {LARGEST}"),
        )

    def width(self) -> int | None:
        """Return the features of a token; None where neither its folder nor its name tells."""
        try:
            config = json.loads((locate(self.path) / "transformer/config.json").read_text())
            return math.prod(int(config[key]) for key in self.wide) if self.wide else None
        except (OSError, ValueError, KeyError, TypeError):
            return self.widths.get(self.name)


@runtime_checkable
class Loadable(Protocol):
    """Say what is known of a base model without its weights; nothing here needs torch."""

    names: ClassVar[Names]  # of its modules
    unit: ClassVar[int]  # px; a side of an image is a multiple of it
    guidance: ClassVar[Guidance]  # what a guidance scale means
    fuses: ClassVar[bool]  # has fused operations; else hardware drops `fused` and `graphs`

    def problems(self, guidance_scale: float | None) -> dict[str, str]:
        """Say, by the name of the field, what is wrong with its files or with a guidance scale."""
        ...

    def modules(self) -> list[str]:
        """List the linear modules of its blocks, where LoRAs may sit."""
        ...

    def width(self) -> int | None:
        """Return the features of a token, if that is known."""
        ...

    def load(self, *, device: str, hardware: Hardware, changes: Mapping[str, Any]) -> Base:
        """Load the weights; the next call with the same arguments gets the same base.

        Args:
            device: cpu, cuda or mps.
            hardware: a profile, or `auto`.
            changes: fields that the user set apart from it.

        Raises:
            ValueError: says why it cannot be loaded.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Hold the VAE's Gaussian over normalised latents."""

    mean: Tensor  # [B, C, h, w], float32; the mode as well
    std: Tensor  # [B, C, h, w], float32


class Text(Protocol):
    """Hold encoded prompts, whatever the transformer takes."""

    prompts: tuple[str, ...]  # B

    def of(self, prompts: Sequence[str]) -> Text:
        """Pick prompts by their words, with repetition."""
        ...


class Pass(Protocol):
    """Run the transformer once, at one noise level, for B prompts."""

    key: Hashable  # all that the result depends on, besides the values of latents and inputs
    inputs: tuple[Tensor, ...]  # on the device; their shapes are the same while the key is

    def __call__(self, latents: Tensor, *inputs: Tensor) -> Tensor:
        """Return d latents / d sigma, float32, from float32 [B, C, h, w] and `inputs`."""
        ...


class RunPass(Protocol):
    """Call a function of tensors, or replay what the GPU did at its first call."""

    enabled: bool  # it replays; gradients then replace the old ones and are not added to them

    def __call__(
        self,
        key: Hashable,
        function: Callable[..., Tensor],
        *inputs: Tensor,
        before: Callable[[], object] = ...,
    ) -> Tensor:
        """Return what the function makes of `inputs`; see `machine.graphs`."""
        ...


class Base(Protocol):
    """Run one base model in its parts."""

    names: Names  # of the transformer's modules
    guidance: Guidance  # how many passes a guidance scale takes; for true guidance `flow` runs both
    device: torch.device
    hardware: Hardware
    transformer: nn.Module  # LoRAs are attached here, by `lora.Adapters` alone

    def latent_shape(self, size: Size) -> tuple[int, int, int]:
        """Return (C, h, w) of an image.

        Raises:
            ValueError: a side that does not divide into tokens.
        """
        ...

    def sigmas(self, size: Size, steps: int) -> Tensor:
        """Return the noise levels of a run, float32 [steps + 1] on the CPU, from 1 to 0."""
        ...

    def noise(self, seed: int, size: Size) -> Tensor:
        """Draw the starting latent of a seed, float32 [C, h, w] on the CPU."""
        ...

    def encode(self, images: Tensor) -> Posterior:
        """Encode images, float [B, 3, H, W] in [-1, 1]; the VAE leaves the accelerator again."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Decode float [B, C, h, w] to float32 [B, 3, H, W], about [-1, 1], not clamped."""
        ...

    def text(self, prompts: Sequence[str]) -> Text:
        """Encode prompts, at least one; equal prompts are encoded once."""
        ...

    def prepare(self, sigmas: Tensor, text: Text, guidance_scale: float | None) -> None:
        """Make ready for passes at some noise levels, for as many of the prompts as fit."""
        ...

    def rows(self, count: int) -> int:
        """Return how many rows to run for `count` rows: compiled code knows few numbers."""
        ...

    def at(self, sigma: Tensor, text: Text, guidance_scale: float | None) -> Pass:
        """Give the pass at a noise level, float32 [] or [B], for the B prompts of `text`.

        The scale is one that the transformer embeds; true guidance is two passes, see `flow`.

        Raises:
            ValueError: a guidance scale for a model without one, or none for a model with one.
        """
        ...

    def training(self) -> AbstractContextManager[RunPass]:
        """Let the blocks run for training inside; give what runs a step."""
        ...

    def sampling(self) -> AbstractContextManager[RunPass]:
        """Give what runs a pass, for the LoRAs that are attached."""
        ...


def velocity(
    base: Base, latents: Tensor, sigma: Tensor, text: Text, guidance_scale: float | None
) -> Tensor:
    """Run the transformer once; d latents / d sigma, float32 [B, C, h, w]. See `Base.at`."""
    one = base.at(sigma, text, guidance_scale)
    return one(latents, *one.inputs)

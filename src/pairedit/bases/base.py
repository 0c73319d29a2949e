"""Own what trainer, sampler and evaluation know of a base model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Model:
    """Name a base model and what it is used with by default."""

    name: str
    path: str  # a folder, pkg://<folder shipped with pairedit>, or a model hub id
    resolution: int  # px
    num_inference_steps: int
    skip: int  # first steps of a rendering without LoRA
    guidance_scale: float | None  # None: the model takes none
    max_sequence_length: int  # T5 tokens
    precision: str  # float32 or bf16 on an accelerator; a CPU runs float32
    prompt: str  # rendered when no prompt is given
    inversion_steps: int = 1500  # of method=inversion


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """Hold the VAE's Gaussian over normalised latents."""

    mean: Tensor  # [B, C, h, w], float32; the mode as well
    std: Tensor  # [B, C, h, w], float32

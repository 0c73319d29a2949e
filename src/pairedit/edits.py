"""Own where a sampling run starts. The open set `edit` of the configuration.

Text to image starts from the noise of a seed. Another edit, such as one of a real photograph,
is another class with the same method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from pairedit.flux import Flux


@runtime_checkable
class Edit(Protocol):
    """Choose the latent a run starts from."""

    def start(self, flux: Flux, *, seed: int, resolution: int) -> Tensor:
        """Return float32 [C, h, w] at sigma = 1, on the CPU."""
        ...


@dataclass(frozen=True, kw_only=True)
class TextToImage:
    """Start from the noise of the seed, so that the prompt alone decides."""

    def start(self, flux: Flux, *, seed: int, resolution: int) -> Tensor:
        """Return float32 [C, h, w], unit Gaussian."""
        return flux.noise(seed, resolution)

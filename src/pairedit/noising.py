"""Own how a clean latent is made noisy, and the velocity that goes with it.

A noising is a straight path through sigma, noisy(sigma); its velocity is d noisy / d sigma:

    content preserving   x + sigma * beta * eps           beta * eps
    rectified            (1 - sigma) * x + sigma * eps    eps - x

Shape letters: C latent channels, h and w latent height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pairedit.problems import check
from pairedit.settings import MOST, POSITIVE

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Noising(Protocol):
    """Turn a clean latent into a noisy one."""

    def noisy(self, clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return the point of the path at `sigma`."""
        ...

    def velocity(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return the derivative of `noisy` by sigma."""
        ...


@dataclass(frozen=True, kw_only=True)
class ContentPreserving:
    """Add noise and keep the clean latent whole at every sigma.

    Source: PairEdit (arXiv 2506.07992), content-preserving noise schedule.
    """

    noise_scale: float = 1.0  # beta: standard deviation of the noise at sigma = 1

    def __post_init__(self) -> None:
        """Refuse a scale that leaves no noise.

        Raises:
            Invalid: names it.
        """
        check(self, noise_scale=(0 < self.noise_scale <= MOST, POSITIVE))

    def noisy(self, clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return x + sigma * beta * eps, all float [C, h, w]; sigma in (0, 1]."""
        return clean + sigma * self.noise_scale * noise

    def velocity(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return beta * eps, float [C, h, w]."""
        return self.noise_scale * noise


@dataclass(frozen=True, kw_only=True)
class Rectified:
    """Blend the clean latent into pure noise, as FLUX was trained.

    Source: rectified flow (arXiv 2209.03003); PairEdit's ablation C.
    """

    def noisy(self, clean: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Return (1 - sigma) * x + sigma * eps, all float [C, h, w]; sigma in (0, 1]."""
        return (1 - sigma) * clean + sigma * noise

    def velocity(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return eps - x, float [C, h, w]."""
        return noise - clean

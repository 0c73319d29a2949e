"""Own the path between noise and image: Euler steps forwards, and the same steps backwards.

    forwards     x(next) = x + (sigma_next - sigma) * u(x, sigma)
    backwards    the x with  x + (sigma_next - sigma) * u(x, sigma) = x(next)
    u = sum over the terms of a blend of weight * v(x, sigma; LoRAs of the term)

Backwards the unknown x stands on both sides, so each step is solved by fixed-point iteration.
Shape letters: B rows, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from tqdm import tqdm

from pairedit.bases.flux1.flux import Flux, Text
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine.graphs import EAGER, Graphs

Blend = Sequence[tuple[float, Row]]  # weight and LoRAs of each term
Velocity = Callable[[Tensor, Tensor], Tensor]  # ([B, C, h, w], sigma []) -> [B, C, h, w]


def euler(velocity: Velocity, latents: Tensor, sigmas: Tensor) -> Tensor:
    """Integrate latents along `sigmas`.

    Args:
        velocity: d latents / d sigma.
        latents: float32 [B, C, h, w] at `sigmas[0]`.
        sigmas: float32 [steps + 1], falling; a single value means no step.

    Returns:
        float32 [B, C, h, w] at `sigmas[-1]`.
    """
    for sigma, following in pairwise(sigmas):
        latents = latents + (following - sigma) * velocity(latents, sigma)
    return latents


def invert(velocity: Velocity, latents: Tensor, sigmas: Tensor, iterations: int) -> Tensor:
    """Find where `euler` must start to end in `latents`.

    The first guess of a step extrapolates the velocity from the two steps solved before. Every
    iteration mixes in its predecessor, row by row (Anderson acceleration of depth 1): at low
    sigma, where v is steep, the plain iteration swings about its solution or leaves it.

    Args:
        velocity: d latents / d sigma.
        latents: float32 [B, C, h, w] at `sigmas[-1]`.
        sigmas: float32 [steps + 1], falling.
        iterations: refinements of each step; a step costs 1 + iterations velocities.

    Returns:
        float32 [B, C, h, w] at `sigmas[0]`.

    Source: fixed-point inversion, AIDI (arXiv 2309.04907); Anderson, Iterative procedures for
        nonlinear integral equations (1965).
    """
    known: list[tuple[Tensor, Tensor]] = []  # sigma and velocity of the steps solved so far
    for sigma, following in reversed(list(pairwise(sigmas))):
        step = following - sigma
        guess = latents - step * _extrapolated(known, sigma) if known else latents
        solved = latents - step * velocity(guess, sigma)
        residual = solved - guess
        for _ in range(iterations):
            guess, before, older = solved, solved, residual
            solved = latents - step * velocity(guess, sigma)
            residual = solved - guess
            solved = solved - _mixing(residual, older) * (solved - before)
        known = [*known[-1:], (sigma, (latents - solved) / step)]
        latents = solved
    return latents


def _extrapolated(known: Sequence[tuple[Tensor, Tensor]], sigma: Tensor) -> Tensor:
    """Continue the velocity of the last steps to `sigma`: a straight line, or the only one."""
    *earlier, (last, velocity) = known
    if not earlier:
        return velocity
    first, old = earlier[-1]
    return velocity + (velocity - old) * (sigma - last) / (last - first)


def _mixing(residual: Tensor, older: Tensor) -> Tensor:
    """Return the share [B, 1, 1, 1] of the last move to take back so that the residual is least."""
    change = residual - older
    size = change.square().sum((1, 2, 3)).clamp(min=1e-20)  # 0 once a row has converged
    return ((residual * change).sum((1, 2, 3)) / size)[:, None, None, None]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Hold what all passes of one group of rows share, and run them along parts of the path."""

    flux: Flux
    adapters: Adapters
    text: Text  # of the B rows
    sigmas: Tensor  # float32 [steps + 1], of the whole run
    guidance_scale: float | None
    progress: tqdm  # moves by one for each row of each pass
    graphs: Graphs = EAGER

    def forwards(self, latents: Tensor, blends: Sequence[Blend], start: int, end: int) -> Tensor:
        """Run Euler steps `start` to `end` (exclusive) on [B, C, h, w], a blend for each row."""
        with self._velocity(blends) as velocity:
            return euler(velocity, latents, self.sigmas[start : end + 1])

    def backwards(
        self, latents: Tensor, blends: Sequence[Blend], start: int, iterations: int
    ) -> Tensor:
        """Undo the Euler steps from `start` to the end, on finished latents [B, C, h, w]."""
        with self._velocity(blends) as velocity:
            return invert(velocity, latents, self.sigmas[start:], iterations)

    @contextmanager
    def _velocity(self, blends: Sequence[Blend]) -> Iterator[Velocity]:
        """Give the blended velocity of B rows; all their terms run as one batch."""
        terms = [
            (index, weight, row) for index, blend in enumerate(blends) for weight, row in blend
        ]
        # Rows under the same LoRAs side by side, so that those run together.
        terms.sort(key=lambda term: sorted(term[2].scales))
        owners = [index for index, _, _ in terms]
        rows = [row for _, _, row in terms]
        plain = owners == list(range(len(blends))) and all(weight == 1 for _, weight, _ in terms)
        # Compiled code is made for one number of rows: fewer are filled up to a power of two.
        missing = 2 ** (len(rows) - 1).bit_length() - len(rows) if self.flux.hardware.fused else 0
        filled = [*owners, *owners[-1:] * missing]
        text = self.text.rows(filled)
        device = self.flux.device
        owner = torch.tensor(filled, device=device)
        weights = torch.tensor([weight for _, weight, _ in terms] + [0.0] * missing, device=device)
        rows += rows[-1:] * missing

        def run(latents: Tensor, sigma: Tensor) -> Tensor:
            if not self.flux.hardware.fused:
                return self.flux.velocity(latents, sigma, text, self.guidance_scale)
            numbers = self.flux.numbers(sigma, text, self.guidance_scale)
            key = (self.flux.prepared, self.adapters.acting(rows))
            return self.graphs.call(key, self.flux.modulated, latents, text.tokens, numbers)

        def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
            self.progress.update(len(terms))
            if plain and not missing:
                return run(latents, sigma)
            weighted = run(latents[owner], sigma) * weights[:, None, None, None]
            return torch.zeros_like(latents).index_add(0, owner, weighted)

        with torch.no_grad(), self.adapters.rows(rows):
            yield velocity

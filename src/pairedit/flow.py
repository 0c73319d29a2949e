"""Own the path between noise and image: Euler steps forwards, and the same steps backwards.

    forwards     x(next) = x + (sigma_next - sigma) * u(x, sigma)
    backwards    the x with  x + (sigma_next - sigma) * u(x, sigma) = x(next)
    u = sum over the terms of a blend of weight * v(x, sigma; LoRAs and prompt of the term)

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

from pairedit.bases.base import Base, RunPass, Text
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row

Blend = Sequence[tuple[float, Row, str]]  # weight, LoRAs and prompt of each term
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
class Guide:
    """Make each velocity of a blend of the passes that the base's guidance asks for.

    Both passes carry the term's LoRAs, so a slider is guided as the prompt is.
    """

    weights: tuple[float, float] = (1.0, 0.0)  # of the prompt and of the negative prompt
    negative_prompt: str = ""

    @property
    def prompts(self) -> list[str]:
        """List what is encoded besides the prompts."""
        return [self.negative_prompt] if self.weights[1] else []

    def __call__(self, blend: Blend) -> Blend:
        """Return the terms that run; nothing is added where the two prompts are the same."""
        own, negative = self.weights
        if not negative:
            return blend
        terms: list[tuple[float, Row, str]] = []
        for weight, row, prompt in blend:
            if prompt == self.negative_prompt:
                terms.append((weight, row, prompt))
            else:
                terms.append((weight * own, row, prompt))
                terms.append((weight * negative, row, self.negative_prompt))
        return terms


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Hold what all passes of a rendering share, and run rows along parts of the path."""

    base: Base
    adapters: Adapters
    text: Text  # of all prompts
    sigmas: Tensor  # float32 [steps + 1], of the whole run
    guidance_scale: float | None
    guide: Guide = Guide()
    run: RunPass  # of `Base.sampling`
    progress: tqdm  # moves by one for each row of each pass

    def forwards(self, latents: Tensor, blends: Sequence[Blend], start: int, end: int) -> Tensor:
        """Run Euler steps `start` to `end` (exclusive) on [B, C, h, w], a blend for each row."""
        with self._velocity(blends) as velocity:
            return euler(velocity, latents, self.sigmas[start : end + 1])

    def velocity(self, latents: Tensor, blends: Sequence[Blend], step: int) -> Tensor:
        """Return the velocity of [B, C, h, w] at the noise level of a step."""
        with self._velocity(blends) as velocity:
            return velocity(latents, self.sigmas[step])

    def backwards(
        self, latents: Tensor, blends: Sequence[Blend], start: int, iterations: int
    ) -> Tensor:
        """Undo the Euler steps from `start` to the end, on finished latents [B, C, h, w]."""
        with self._velocity(blends) as velocity:
            return invert(velocity, latents, self.sigmas[start:], iterations)

    @contextmanager
    def _velocity(self, blends: Sequence[Blend]) -> Iterator[Velocity]:
        """Give the blended velocity of B rows; all their terms run as one batch."""
        terms = [(index, *term) for index, blend in enumerate(blends) for term in self.guide(blend)]
        # Rows under the same LoRAs side by side, so that those run together.
        terms.sort(key=lambda term: sorted(term[2].scales))
        count = len(terms)
        missing = self.base.rows(count) - count
        filled = [*terms, *[terms[-1]] * missing]
        owners = [index for index, *_ in filled]
        weights = [weight for _, weight, *_ in terms] + [0.0] * missing
        rows = [row for _, _, row, _ in filled]
        text = self.text.of([prompt for *_, prompt in filled])
        plain = owners == list(range(len(blends))) and all(weight == 1 for weight in weights)
        owner, weight = (
            torch.tensor(part).to(self.base.device, non_blocking=True) for part in (owners, weights)
        )
        weight = weight[:, None, None, None]

        def velocity(latents: Tensor, sigma: Tensor) -> Tensor:
            self.progress.update(count)
            one = self.base.at(sigma, text, self.guidance_scale)
            key = (one.key, self.adapters.acting(rows))
            if plain:
                return self.run(key, one, latents, *one.inputs)
            weighted = self.run(key, one, latents[owner], *one.inputs) * weight
            return torch.zeros_like(latents).index_add(0, owner, weighted)

        with torch.no_grad(), self.adapters.rows(rows):
            yield velocity

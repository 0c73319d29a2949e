"""Own one training step: a base runs the terms with its LoRAs, and their weights change.

Shape letters: T terms, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairedit.bases.base import Base, RunPass, Text
from pairedit.bases.base import velocity as base_velocity
from pairedit.lora.adapters import Adapters
from pairedit.lora.rows import Row
from pairedit.machine.devices import make_accelerator
from pairedit.methods import Term
from pairedit.settings import Training


class Learner:
    """Run a base with its LoRAs: for gradients, or as a teacher."""

    def __init__(
        self,
        base: Base,
        adapters: Adapters,
        text: Callable[[Sequence[str]], Text],
        settings: Training,
        run: RunPass,
    ) -> None:
        """Take what does not change from step to step.

        Args:
            base: the model.
            adapters: its LoRAs.
            text: encodes prompts.
            settings: of the training.
            run: of `Base.training`.
        """
        self._base, self._adapters, self._text, self._run = base, adapters, text, run
        self._settings = settings
        self._accelerator = make_accelerator(base.device.type)
        self._optimizer: Any = None

    def optimize(self, weights: Mapping[str, Sequence[Tensor]]) -> torch.optim.Optimizer:
        """Make the optimiser of all weights."""
        optimizer = torch.optim.AdamW(
            [weight for part in weights.values() for weight in part],
            lr=self._settings.learning_rate,
            fused=self._base.device.type == "cuda",
        )
        self._optimizer = self._accelerator.prepare(optimizer)
        return self._optimizer

    def update(self) -> None:
        """Change the weights by their gradients."""
        self._optimizer.step()
        if not self._run.enabled:  # a replay writes over them
            self._optimizer.zero_grad()

    def velocity(
        self, noisy: Tensor, sigma: float, prompt: str, scales: Mapping[str, float]
    ) -> Tensor:
        """Return the velocity of [C, h, w] under some LoRAs, without gradient."""
        text = self._text([prompt])
        with torch.no_grad(), self._adapters.rows([Row(scales=scales)]):
            level = torch.tensor(sigma)
            return base_velocity(
                self._base, noisy[None], level, text, self._settings.guidance_scale
            )[0]

    def learn(self, terms: Sequence[Term], sigma: float) -> Tensor:
        """Make the gradients of a step; return its losses, float32 [T], without gradient."""
        parts = [terms] if self._base.hardware.batch_terms else [[term] for term in terms]
        return torch.cat([self.backward(part, sigma) for part in parts])

    def backward(self, terms: Sequence[Term], sigma: float) -> Tensor:
        """Add the gradients of T terms at one noise level, run as one batch; see `learn`.

        A replayed graph sets the gradients instead; it is captured without any.
        """
        rows = [Row(scales=term.scales, learns=term.learns) for term in terms]
        text = self._text([term.prompt for term in terms])
        one = self._base.at(torch.tensor(sigma), text, self._settings.guidance_scale)
        bases = [_row_of(term, terms) for term in terms]

        def run(noisy: Tensor, target: Tensor, *inputs: Tensor) -> Tensor:
            found = one(noisy, *inputs)
            goals = [
                goal if base is None else found[base].detach() + goal
                for base, goal in zip(bases, target, strict=True)
            ]
            losses = torch.stack([F.mse_loss(*pair) for pair in zip(found, goals, strict=True)])
            self._accelerator.backward(losses.sum())
            return losses.detach()

        def forget() -> None:
            self._optimizer.zero_grad(set_to_none=True)

        noisy = torch.stack([term.noisy for term in terms])
        target = torch.stack(
            [
                term.target if term.onto is None or base is not None else self._onto(term, sigma)
                for term, base in zip(terms, bases, strict=True)
            ]
        )
        key = (one.key, self._adapters.acting(rows), tuple(bases))
        with self._adapters.rows(rows):
            return self._run(key, run, noisy, target, *one.inputs, before=forget)

    def _onto(self, term: Term, sigma: float) -> Tensor:
        """Add what the model predicts under `term.onto` to a target, by a pass of its own."""
        return self.velocity(term.noisy, sigma, term.prompt, term.onto) + term.target


def _row_of(term: Term, terms: Sequence[Term]) -> int | None:
    """Return the row that predicts what a term's target is added to; None where none does."""
    for row, other in enumerate(terms):
        same = other.noisy is term.noisy and other.prompt == term.prompt
        if term.onto is not None and same and other.scales == term.onto:
            return row
    return None

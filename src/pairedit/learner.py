"""Own one training step: a base runs the terms with its LoRAs, and their weights change.

Shape letters: T terms, C latent channels, h and w latent height and width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairedit.bases.base import Base, RunPass, Text
from pairedit.bases.base import velocity as base_velocity
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import LoraFile
from pairedit.lora.rows import Row
from pairedit.lora.starting import start_from
from pairedit.machine.devices import make_accelerator
from pairedit.methods import Term
from pairedit.runs.state import State
from pairedit.settings import Training

log = logging.getLogger(__name__)


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
        self._unproved: Mapping[str, Sequence[Tensor]] = {}

    @property
    def device(self) -> torch.device:
        """Return where latents are."""
        return self._base.device

    def attach(
        self, roles: Sequence[str], generator: torch.Generator, init: Mapping[str, LoraFile] | None
    ) -> State:
        """Attach a LoRA for each role, new or as a file has it; return what training changes."""
        settings = self._settings
        for role in roles:
            self._adapters.add(
                role,
                rank=settings.rank,
                alpha=settings.alpha,
                targets=settings.targets,
                generator=generator,
            )
        weights = {role: self._adapters.parameters(role) for role in roles}
        for role in roles if init else ():
            if role not in init:
                log.warning("the %s LoRA starts new, because init= has none", role)
                continue
            places = list(self._adapters.weights(role))
            start = start_from(
                init[role], places, weights[role], scaling=settings.alpha / settings.rank
            )
            said = start.text(settings.rank)
            log.info("the %s LoRA starts from %s: %s", role, init[role].path, said)
        return self.begin(weights, generator)

    def begin(self, weights: Mapping[str, Sequence[Tensor]], generator: torch.Generator) -> State:
        """Make the optimiser of all weights; return what training changes."""
        optimizer = torch.optim.AdamW(
            [weight for part in weights.values() for weight in part],
            lr=self._settings.learning_rate,
            fused=self._base.device.type == "cuda",
        )
        self._optimizer, self._unproved = self._accelerator.prepare(optimizer), weights
        return State(weights=weights, optimizer=self._optimizer, generator=generator)

    def update(self) -> None:
        """Change the weights by their gradients.

        Raises:
            ValueError: at the first update there are weights without.
        """
        _check_reached(self._unproved)
        self._unproved = {}
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

        def run(noisy: Tensor, target: Tensor, where: Tensor, *inputs: Tensor) -> Tensor:
            found = one(noisy, *inputs)
            goals = [
                goal if base is None else found[base].detach() * share + goal
                for base, goal, share in zip(bases, target, where, strict=True)
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
        where = torch.stack([_share_of(term) for term in terms])
        key = (one.key, self._adapters.acting(rows), tuple(bases))
        with self._adapters.rows(rows):
            return self._run(key, run, noisy, target, where, *one.inputs, before=forget)

    def _onto(self, term: Term, sigma: float) -> Tensor:
        """Add what the model predicts under `term.onto` to a target, by a pass of its own."""
        found = self.velocity(term.noisy, sigma, term.prompt, term.onto)
        return found * _share_of(term) + term.target


def inside(terms: Sequence[Term], mask: Tensor | None, role: str) -> list[Term]:
    """Let those terms that train the LoRA of the edit ask for it inside of a mask alone.

        target  ->  M * target + (1 - M) * [v under the LoRAs that the term does not train]

    Args:
        terms: of any method.
        mask: M, float32 [1, h, w] in [0, 1]; None leaves the terms as they are.
        role: of the LoRA to sample with.

    Raises:
        ValueError: a term that is relative to another prediction.
    """
    if mask is None:
        return list(terms)
    return [_inside(term, mask) if role in term.learns else term for term in terms]


def _inside(term: Term, mask: Tensor) -> Term:
    """Let one term ask for the edit inside of a mask alone; see `inside`."""
    rest = {name: scale for name, scale in term.scales.items() if name not in term.learns}
    if term.onto is None:
        return replace(term, target=mask * term.target, onto=rest, where=1 - mask)
    if term.onto != rest or term.where is not None:
        raise ValueError(f"a mask cannot keep the term {term.name} of this method inside of it")
    return replace(term, target=mask * term.target)  # relative to that prediction already


def _share_of(term: Term) -> Tensor:
    """Return by how much `onto` counts, as large as the term's latents."""
    share = torch.ones_like(term.noisy[:1])
    return share if term.where is None else share * term.where


def _row_of(term: Term, terms: Sequence[Term]) -> int | None:
    """Return the row that predicts what a term's target is added to; None where none does."""
    for row, other in enumerate(terms):
        same = other.noisy is term.noisy and other.prompt == term.prompt
        if term.onto is not None and same and other.scales == term.onto:
            return row
    return None


def _check_reached(weights: Mapping[str, Sequence[Tensor]]) -> None:
    """Refuse LoRA parts without gradient: they would be saved as if trained.

    Raises:
        ValueError: counts them by role.
    """
    missing = {
        role: count
        for role, part in weights.items()
        if (count := sum(weight.grad is None for weight in part))
    }
    if missing:
        counts = ", ".join(f"{count} weights of {role}" for role, count in missing.items())
        raise ValueError(f"targets: {counts} take no part in the model's output")

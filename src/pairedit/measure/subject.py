"""Own what an evaluation is about: one slider, and what its pairs show. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pairedit.data.examples import Pair
from pairedit.settings import Local, Use

FEWEST = 4  # people that an interval needs: fewer tell how they differ themselves, and nobody else


def too_few(people: int) -> str:
    """Say of how few people a figure is, where there is no interval."""
    return f"{'one person' if people == 1 else f'{people} people'}, no interval"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Hold the scale that is worth one pair, and how sure that is."""

    scale: float
    error: float | None  # standard error of what it is worth, in pairs; None of too few people
    people: int  # that were read

    def __str__(self) -> str:
        """Say how sure it is."""
        if self.error is None or self.people < FEWEST:  # an older file may note one all the same
            return f"({too_few(self.people)})"
        return f"± {100 * self.error:.0f} % ({self.people} people)"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Name one slider to evaluate; a plan holds it before the weights are read."""

    path: Path  # of the LoRA file
    label: str  # among others on the same edit: the method, and what else differs
    dataset: str
    pairs: Sequence[Pair]  # none where they cannot be found
    attribute: str | None  # None: the one that the pairs move most, where a probe reads them
    skip: int | float  # see `Rendering.skip`
    local: Local = False  # see `legs.Slider`, as the next
    lean: float = 0.0
    flowedit: bool = False
    unit: Unit | None = None  # the scale worth one pair, where other seeds were read for it
    open: bool = False  # how it is used was neither asked for nor found by trial
    family: str = ""  # the label without the seed: what several trainings have in common
    method: str = ""
    seed: int | None = None  # of the training; None where nobody knows
    swept: Mapping[str, str] = field(default_factory=dict)  # what differs among all, by key
    typed: str = ""  # words that name it in another command, with what they need beside its path

    @property
    def use(self) -> Use:
        """Say how it is used."""
        return Use(skip=self.skip, local=self.local, lean=self.lean, flowedit=self.flowedit)

    def used(self, use: Use) -> Subject:
        """Return the same slider in another use, which is settled with it."""
        skip = self.skip if use.skip is None else use.skip
        settled = {"local": use.local, "lean": use.lean, "flowedit": use.flowedit, "open": False}
        return replace(self, skip=skip, **settled)

    @property
    def company(self) -> tuple[bool, int | float]:
        """Say which sliders it is rendered together with, and shares work and scale 0 with."""
        return self.flowedit, 0 if self.flowedit else self.skip

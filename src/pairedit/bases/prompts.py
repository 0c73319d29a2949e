"""Own the prompts of a job: encoded once, ready for its noise levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pairedit.bases.base import Base, Text


def joined(grids: Sequence[Tensor]) -> Tensor:
    """Return the noise levels of several runs, float32; each falls to 0, where no pass is."""
    return torch.cat([*(grid[:-1] for grid in grids[:-1]), grids[-1]])


class Prompts:
    """Encode each prompt when it is first asked for, and keep it."""

    def __init__(
        self,
        base: Base,
        grids: Sequence[Tensor],
        guidance_scale: float | None,
        first: Sequence[str] = (),
    ) -> None:
        """Name the noise levels of all runs, and the guidance of passes; encode some prompts."""
        self._base = base
        sigmas = joined(grids)
        self._prepare = lambda text: base.prepare(sigmas, text, guidance_scale)
        self._known: Text | None = None
        if first:
            self(first)

    def __call__(self, prompts: Sequence[str]) -> Text:
        """Return the embeddings of some prompts as one batch."""
        known = self._known.prompts if self._known else ()
        if not set(prompts) <= set(known):
            self._known = self._base.text(list(dict.fromkeys([*known, *prompts])))
            self._prepare(self._known)
        return self._known.of(prompts)

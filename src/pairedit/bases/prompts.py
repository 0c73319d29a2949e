"""Own the prompts of a job: encoded once, ready for its noise levels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pairedit.bases.base import Base, Text


class Prompts:
    """Encode each prompt when it is first asked for, and keep it."""

    def __init__(
        self,
        base: Base,
        sigmas: Tensor,
        guidance_scale: float | None,
        first: Sequence[str] = (),
    ) -> None:
        """Name the noise levels and the guidance that passes will be at; encode some prompts."""
        self._base = base
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

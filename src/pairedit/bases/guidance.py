"""Own how a guidance scale g becomes passes: c with the prompt, u with the negative prompt.

    embedded        c                 the transformer takes g as an input, or takes none: FLUX.1
    from_negative   u + g * (c - u)   off at g = 1: FLUX.2 klein
    beyond          c + g * (c - u)   off at g = 0: Z-Image

Every base means by `guidance_scale` what its own pipeline means by it. Training takes c alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Say of how many passes a velocity is made, and by which formula."""

    true: bool  # a second pass, with a negative prompt
    weigh: Callable[[float], tuple[float, float]]

    @property
    def slider_passes(self) -> str | None:
        """Say which passes carry the LoRAs: both, as in diffusers and ComfyUI; None of one pass."""
        return "prompt and negative prompt" if self.true else None

    def weights(self, scale: float | None) -> tuple[float, float]:
        """Return the weights of c and of u, which add up to 1; u at weight 0 is not run."""
        return (1.0, 0.0) if scale is None else self.weigh(scale)


EMBEDDED = Guidance(true=False, weigh=lambda _: (1.0, 0.0))
FROM_NEGATIVE = Guidance(true=True, weigh=lambda g: (g, 1 - g) if g > 1 else (1.0, 0.0))
BEYOND = Guidance(true=True, weigh=lambda g: (1 + g, -g))

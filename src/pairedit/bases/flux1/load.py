"""Own how a FLUX.1 is loaded, and kept for the next job of the process."""

from __future__ import annotations

from diffusers import FluxPipeline

from pairedit.bases.flux1.flux import Flux
from pairedit.bases.loading import loader

# GiB that must be free at 512 px; the last profile is taken where nothing fits.
NEEDS = {"80gb": 32.0, "24gb": 21.5, "12gb": 10.5, "8gb": 0.0}

load = loader(FluxPipeline, Flux, family="FLUX", needs=lambda _: NEEDS, fuses=True)

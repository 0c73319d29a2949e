"""Slider LoRAs for FLUX-class models, learnt from before/after image pairs."""

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# The interface for Python; it needs torch, which `import pairedit` alone does not wait for.
__all__ = ["load", "open_model"]

if TYPE_CHECKING:
    from pairedit.notebook import load, open_model

# Threads of GNU OpenMP, which torch brings on Linux, spin while they wait for each other. Beside a
# busy process they then burn the time that the one they wait for needs; so they sleep after this
# many turns (benchmarks/busy.py). Read when torch is imported, so set before; what the user has set
# holds.
SPINS = "4000"
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPINS

# Without torchvision transformers says, at import, that the image processors of pipelines' unused
# IP-adapter parts fall back to Pillow.
logging.getLogger("transformers.utils.import_utils").addFilter(
    lambda record: "requires torchvision" not in record.getMessage()
)


def __getattr__(name: str) -> Any:
    """Fetch a function of the interface when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'pairedit' has no attribute {name!r}")
    return getattr(importlib.import_module("pairedit.notebook"), name)

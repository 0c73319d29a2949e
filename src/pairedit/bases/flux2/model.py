"""Own what is known of a FLUX.2 klein before its weights: folders, blocks, guidance. Never torch.

The last velocity of a step is u + g (c - u): two passes. A distilled one takes no guidance.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pairedit.bases.base import Model
from pairedit.bases.flux2.names import NAMES
from pairedit.bases.guidance import FROM_NEGATIVE, Guidance
from pairedit.bases.licence import APACHE, FLUX2_KLEIN_9B, Licence
from pairedit.files import locate
from pairedit.lora.names import Names

if TYPE_CHECKING:
    from pairedit.bases.flux2.flux import Flux2Base
    from pairedit.machine.hardware import Hardware

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, kw_only=True)
class Flux2(Model):
    """Name a FLUX.2 klein."""

    names: ClassVar[Names] = NAMES
    unit: ClassVar[int] = 16  # px: the VAE shrinks 8 times, a token covers 2 x 2 latent pixels
    fuses: ClassVar[bool] = True
    guidance: ClassVar[Guidance] = FROM_NEGATIVE
    pipeline: ClassVar[str] = "Flux2KleinPipeline"
    licences: ClassVar[Mapping[str, Licence]] = {
        "flux2-klein": APACHE,
        "flux2-klein-fast": APACHE,
        "flux2-klein-9b": FLUX2_KLEIN_9B,
    }
    widths: ClassVar[Mapping[str, int]] = {
        "flux2-klein": 3072,
        "flux2-klein-fast": 3072,
        "flux2-klein-9b": 4096,
    }
    wide: ClassVar[tuple[str, ...]] = ("num_attention_heads", "attention_head_dim")

    distilled: bool = False  # to a few steps without guidance

    def problems(self, guidance_scale: float | None) -> dict[str, str]:
        """Say what is wrong with its folder, or with a guidance scale, by the field's name."""
        if self.distilled != (guidance_scale is None):
            says = "takes none, expected null" if self.distilled else "needs a number"
            return {"guidance_scale": f"this model {says}"}
        folder = locate(self.path)
        if not folder.is_dir():
            looks_like_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", self.path)
            return {} if looks_like_hub_id else {"path": f"no such model folder ({folder})"}
        missing = [part for part in PARTS if not (folder / part).is_dir()]
        if missing:
            return {"path": f"this is no FLUX.2 pipeline: it lacks {', '.join(missing)}"}
        distilled = _read(folder / "model_index.json").get("is_distilled", self.distilled)
        if distilled != self.distilled:
            kind, option = ("", "flux2-klein-fast") if distilled else ("not ", "flux2-klein")
            return {"path": f"this model is {kind}distilled; expected the model {option}"}
        return {}

    def modules(self) -> list[str]:
        """List the linear modules of the blocks; klein-4B's while the folder is not at hand."""
        counts = {"num_layers": 5, "num_single_layers": 20}
        config = _read(locate(self.path) / "transformer/config.json")
        with contextlib.suppress(TypeError, ValueError):
            counts |= {key: int(config[key]) for key in counts if key in config}
        return self.names.modules(counts.values())

    def load(self, *, device: str, hardware: Hardware, changes: Mapping[str, Any]) -> Flux2Base:
        """Load the weights; see `Loadable.load`."""
        from pairedit.bases.flux2.load import load

        folder = locate(self.path)
        return load(
            str(folder) if folder.is_dir() else self.path,
            device=device,
            precision="float32" if device == "cpu" else self.precision,
            max_sequence_length=self.max_sequence_length,
            hardware=hardware,
            changes=tuple(changes.items()),
        )


def _read(path: Any) -> Mapping[str, Any]:
    """Read a JSON object; an empty one where there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

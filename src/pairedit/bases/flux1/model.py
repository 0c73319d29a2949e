"""Own what is known of a FLUX.1 before its weights: folders, blocks, guidance. Never torch."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pairedit.bases.base import Model
from pairedit.bases.flux1.names import NAMES
from pairedit.bases.licence import APACHE, FLUX1_DEV, FLUX1_KREA, Licence
from pairedit.files import locate
from pairedit.lora.names import Names

if TYPE_CHECKING:
    from pairedit.bases.flux1.flux import Flux
    from pairedit.machine.hardware import Hardware

PARTS = (
    "transformer",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "scheduler",
)


@dataclass(frozen=True, kw_only=True)
class Flux1(Model):
    """Name a FLUX.1: dev, schnell, Krea, or one of their shape."""

    names: ClassVar[Names] = NAMES
    unit: ClassVar[int] = 16  # px: the VAE shrinks 8 times, a token covers 2 x 2 latent pixels
    fuses: ClassVar[bool] = True
    pipeline: ClassVar[str] = "FluxPipeline"
    licences: ClassVar[Mapping[str, Licence]] = {
        "flux-dev": FLUX1_DEV,
        "flux-krea": FLUX1_KREA,
        "flux-schnell": APACHE,
        "flux-mini": APACHE,  # as pairedit, which it ships with
    }
    widths: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("flux-dev", "flux-krea", "flux-schnell"), 3072
    )
    wide: ClassVar[tuple[str, ...]] = ("num_attention_heads", "attention_head_dim")

    def problems(self, guidance_scale: float | None) -> dict[str, str]:
        """Say what is wrong with its folder, or with a guidance scale, by the field's name."""
        folder = locate(self.path)
        if not folder.is_dir():
            looks_like_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", self.path)
            return {} if looks_like_hub_id else {"path": f"no such model folder ({folder})"}
        missing = [part for part in PARTS if not (folder / part).is_dir()]
        if missing:
            return {"path": f"this is no FLUX pipeline: it lacks {', '.join(missing)}"}
        try:
            guided = json.loads((folder / "transformer/config.json").read_text())["guidance_embeds"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            return {"path": f"bad transformer/config.json ({error!r})"}
        if guided == (guidance_scale is not None):
            return {}
        says = "needs a number" if guided else "takes none, expected null"
        return {"guidance_scale": f"this model {says}"}

    def modules(self) -> list[str]:
        """List the linear modules of the blocks; FLUX.1-dev's while the folder is not at hand."""
        counts = {"num_layers": 19, "num_single_layers": 38}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            config = json.loads((locate(self.path) / "transformer/config.json").read_text())
            counts |= {key: int(config[key]) for key in counts if key in config}
        return self.names.modules(counts.values())

    def load(self, *, device: str, hardware: Hardware, changes: Mapping[str, Any]) -> Flux:
        """Load the weights; see `Loadable.load`."""
        from pairedit.bases.flux1.load import load

        folder = locate(self.path)
        return load(
            str(folder) if folder.is_dir() else self.path,
            device=device,
            precision="float32" if device == "cpu" else self.precision,
            max_sequence_length=self.max_sequence_length,
            hardware=hardware,
            changes=tuple(changes.items()),
        )

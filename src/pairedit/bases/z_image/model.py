"""Own what is known of a Z-Image before its weights: folders, blocks, guidance. Never torch."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pairedit.bases.base import Model
from pairedit.bases.guidance import BEYOND, Guidance
from pairedit.bases.licence import APACHE, Licence
from pairedit.bases.z_image.names import NAMES
from pairedit.files import locate
from pairedit.lora.names import Names

if TYPE_CHECKING:
    from pairedit.bases.z_image.zimage import ZImageBase
    from pairedit.machine.hardware import Hardware

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, kw_only=True)
class ZImage(Model):
    """Name a Z-Image, or one of its shape."""

    names: ClassVar[Names] = NAMES
    unit: ClassVar[int] = 16  # px: the VAE shrinks 8 times, a token covers 2 x 2 latent pixels
    fuses: ClassVar[bool] = True
    guidance: ClassVar[Guidance] = BEYOND
    pipeline: ClassVar[str] = "ZImagePipeline"
    licences: ClassVar[Mapping[str, Licence]] = {"z-image": APACHE}
    widths: ClassVar[Mapping[str, int]] = {"z-image": 3840}
    wide: ClassVar[tuple[str, ...]] = ("dim",)

    def problems(self, guidance_scale: float | None) -> dict[str, str]:
        """Say what is wrong with its folder, or with a guidance scale, by the field's name."""
        if guidance_scale is None:
            return {"guidance_scale": "this model needs a number; 0 turns guidance off"}
        folder = locate(self.path)
        if not folder.is_dir():
            looks_like_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", self.path)
            return {} if looks_like_hub_id else {"path": f"no such model folder ({folder})"}
        missing = [part for part in PARTS if not (folder / part).is_dir()]
        if missing:
            return {"path": f"this is no Z-Image pipeline: it lacks {', '.join(missing)}"}
        try:
            self._counts(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return {"path": f"bad transformer/config.json ({error!r})"}
        return {}

    def modules(self) -> list[str]:
        """List the linear modules of the blocks; Z-Image's while the folder is not at hand."""
        counts = [2, 2, 30]
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            counts = self._counts(locate(self.path))
        return self.names.modules(counts)

    def load(self, *, device: str, hardware: Hardware, changes: Mapping[str, Any]) -> ZImageBase:
        """Load the weights; see `Loadable.load`."""
        from pairedit.bases.z_image.load import load

        folder = locate(self.path)
        return load(
            str(folder) if folder.is_dir() else self.path,
            device=device,
            precision="float32" if device == "cpu" else self.precision,
            max_sequence_length=self.max_sequence_length,
            hardware=hardware,
            changes=tuple(changes.items()),
        )

    def _counts(self, folder: Any) -> list[int]:
        """Read how many blocks of each kind there are."""
        config = json.loads((folder / "transformer/config.json").read_text())
        refiners = int(config["n_refiner_layers"])
        return [refiners, refiners, int(config["n_layers"])]

"""Own how the LoRAs of a training become files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairedit.lora.adapters import Adapters
from pairedit.lora.file import write_lora


class LoraFiles:
    """Write the LoRAs of a training."""

    def __init__(
        self,
        adapters: Adapters,
        roles: Sequence[str],
        folder: Path,
        metadata: Mapping[str, Any],
    ) -> None:
        """Name what to write, where, with which entries in the header."""
        self._adapters, self._roles = adapters, roles
        self._folder, self._metadata = folder, metadata

    def __call__(self, step: int, suffix: str, ended: Sequence[int] = ()) -> dict[str, Path]:
        """Write the LoRAs after `step` updates, as `<role><suffix>.safetensors`.

        Args:
            step: updates that they have seen.
            suffix: of the names.
            ended: steps at which the training had ended before it went on.
        """
        paths = {role: self._folder / f"{role}{suffix}.safetensors" for role in self._roles}
        names = self._adapters.module_names
        for role, path in paths.items():
            notes = {**self._metadata, "role": role, "step": step}
            if ended:
                notes["origin"] = {**notes.get("origin", {}), "ended": list(ended)}
            write_lora(path, self._adapters.weights(role), notes, names=names)
        return paths

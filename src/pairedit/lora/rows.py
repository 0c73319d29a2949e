"""Own which LoRAs act on one row of a batch; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Row:
    """Say which LoRAs act on one batch row, how strongly, and which of them learn from it."""

    scales: Mapping[str, float] = field(default_factory=dict)
    learns: frozenset[str] = frozenset()

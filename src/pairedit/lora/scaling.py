"""Own the alpha that stands beside the weights: in diffusers' header, or in PEFT's own file.

A LoRA acts as alpha / rank times B A; one that is rank-stabilised as alpha / sqrt(rank).
Source: peft's LoraConfig, and how its layers look modules up in `alpha_pattern`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIFFUSERS = "lora_adapter_metadata"  # entry of the header
PEFT = "adapter_config.json"  # beside the weights
MOST = 1e6  # of alpha / rank; beyond, a file lies


@dataclass(frozen=True, kw_only=True)
class Noted:
    """Hold the alphas of one file."""

    where: str
    alpha: float
    alphas: Mapping[str, float]  # by the end of a module's name
    stabilised: bool

    def scale(self, module: str, rank: int) -> float:
        """Return what B A is multiplied by.

        Raises:
            ValueError: a number that no program means.
        """
        ends = (value for end, value in self.alphas.items() if f".{module}".endswith(f".{end}"))
        alpha = next(ends, self.alpha)
        return check_scale(alpha / (math.sqrt(rank) if self.stabilised else rank), self.where)


def check_scale(scale: float, where: str) -> float:
    """Return alpha / rank if it can be meant.

    Raises:
        ValueError: it cannot.
    """
    if not abs(scale) < MOST:
        raise ValueError(f"alpha / rank in {where} is {scale}")
    return scale


def find_noted(path: Path, texts: Mapping[str, str], peft: bool) -> Noted | None:
    """Read the alphas that a file's header notes, or those beside a file of PEFT.

    Args:
        path: of the weights.
        texts: of the header.
        peft: the keys are those that PEFT writes.

    Raises:
        ValueError: says what is damaged or not supported.
    """
    if DIFFUSERS in texts:
        return _read(texts[DIFFUSERS], f"'{DIFFUSERS}'", "transformer.")
    beside = path.with_name(PEFT)
    if peft and beside.is_file():
        return _read(beside.read_text(encoding="utf-8", errors="replace"), PEFT, "")
    return None


def _read(text: str, where: str, prefix: str) -> Noted:
    """Read one LoraConfig of peft, written as JSON."""
    try:
        config = json.loads(text)
        alphas = config.get(f"{prefix}alpha_pattern") or {}
        noted = Noted(
            where=where,
            alpha=_number(config[f"{prefix}lora_alpha"]),
            alphas={_end(key): _number(value) for key, value in alphas.items()},
            stabilised=bool(config.get(f"{prefix}use_rslora")),
        )
        dora = config.get(f"{prefix}use_dora")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is damaged ({error!r})") from error
    except RecursionError as error:
        raise ValueError(f"{where} is damaged (too deep)") from error
    if dora:
        raise ValueError(f"{where} says that this is a DoRA; only plain LoRAs are read")
    return noted


def _number(value: Any) -> float:
    """Return a number as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _end(pattern: str) -> str:
    """Return the end of a name that a pattern stands for: peft's are names with a ^ or \\."""
    # No pattern of a stranger is ever run: some take longer than anybody lives.
    if not re.fullmatch(r"\^?[\w.\\-]+", pattern):
        raise ValueError(f"{pattern!r} is no module")
    return pattern.removeprefix("^").replace("\\", "")

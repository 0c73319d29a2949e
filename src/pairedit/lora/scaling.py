"""Own the alpha that stands beside the weights: in diffusers' header, or in PEFT's own file.

A LoRA acts as alpha / rank times B A; one that is rank-stabilised as alpha / sqrt(rank).
Source: peft's LoraConfig, and how its layers look modules up in `alpha_pattern`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairedit.lora.refusals import DORA, damaged, writer_of

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


def find_noted(path: Path, texts: Mapping[str, str], keys: Iterable[str]) -> Noted | None:
    """Read the alphas that a file's header notes, or those beside a file of PEFT.

    Args:
        path: of the weights.
        texts: of the header.
        keys: of all tensors; PEFT's have a prefix of their own.

    Raises:
        ValueError: says what is damaged or not supported.
    """
    keys, beside = list(keys), path.with_name(PEFT)
    if DIFFUSERS in texts:
        text, where, prefix = texts[DIFFUSERS], f"'{DIFFUSERS}'", "transformer."
    elif any(key.startswith("base_model.") for key in keys) and beside.is_file():
        text, where, prefix = beside.read_text(encoding="utf-8", errors="replace"), PEFT, ""
    else:
        return None
    try:
        noted, dora = _read(text, where, prefix)
    except ValueError as error:
        raise ValueError(damaged(str(error), keys, texts)) from error
    if dora:
        writer = writer_of(keys, texts)
        raise ValueError(f"{where} says that this is a DoRA{writer}; {DORA}")
    return noted


def _read(text: str, where: str, prefix: str) -> tuple[Noted, bool]:
    """Read one LoraConfig of peft, written as JSON, and whether it is one of a DoRA."""
    try:
        config = json.loads(text)
        alphas = config.get(f"{prefix}alpha_pattern") or {}
        noted = Noted(
            where=where,
            alpha=_number(config[f"{prefix}lora_alpha"]),
            alphas={_end(key): _number(value) for key, value in alphas.items()},
            stabilised=bool(config.get(f"{prefix}use_rslora")),
        )
        dora = bool(config.get(f"{prefix}use_dora"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is damaged ({error!r})") from error
    except RecursionError as error:
        raise ValueError(f"{where} is damaged (too deep)") from error
    return noted, dora


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

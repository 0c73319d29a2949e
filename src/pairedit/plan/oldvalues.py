"""Own the types of the published YAML files: each key as a number, a text, a list or a truth.

Their code took what Python made of a value, so one and the same thing is written in several ways:
`scales: 0,0.2`, `scales: [0, 0.2]`; `use_prompts_file: 0`, `false`; `prompt: x`, `prompt: [x]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

TRUTHS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
COMMAS = "[,;]"  # names may hold spaces
SPACES = r"[,;\s]"


def one(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Read a value that may stand alone in a list; None where there is nothing."""

    def read_one(value: Any) -> Any:
        values = _values(value, SPACES)
        if len(values) > 1:
            raise ValueError("expected one value")
        return read(values[0]) if values else None

    return read_one


def many(read: Callable[[Any], Any], between: str = COMMAS) -> Callable[[Any], Any]:
    """Read a list, a single value, or a text of several with such between; None where empty."""

    def read_many(value: Any) -> list[Any] | None:
        values = _values(value, between)
        return [read(entry) for entry in values] or None

    return read_many


def whole(value: Any) -> int:
    """Read a whole number, however it is written."""
    read = number(value, "whole numbers")
    if read != int(read):
        raise ValueError("expected whole numbers")
    return int(read)


def number(value: Any, wanted: str = "numbers") -> int | float:
    """Read a finite number; whole ones stay whole."""
    try:
        if isinstance(value, bool):
            raise ValueError
        read = float(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"expected {wanted}") from error
    if not math.isfinite(read):
        raise ValueError(f"expected {wanted}")
    return int(read) if re.fullmatch(r"[+-]?\d+", str(value).strip()) else read


def text(value: Any) -> str:
    """Read a text; None becomes an empty one."""
    if isinstance(value, list | dict | bool):
        raise ValueError("expected text")
    return "" if value is None else str(value)


def name(value: Any) -> int | str:
    """Read the name of a file or folder; a number stays one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else text(value).strip()


def truth(value: Any) -> bool:
    """Read a yes or a no."""
    read = TRUTHS.get(str(value).strip().lower())
    if read is None:
        raise ValueError("expected true or false, or 1 or 0")
    return read


def device_and_index(device: str) -> tuple[str, int]:
    """Read a device: the index of a GPU, or a name with or without one.

    Returns:
        Our word for it, and the index; a bare index may be any GPU's, so auto finds it.
    """
    kind, _, index = device.lower().rpartition(":") if ":" in device else (device.lower(), "", "0")
    if re.fullmatch(r"\d+", kind):
        kind, index = "auto", kind
    if not re.fullmatch(r"\d+", index):
        raise ValueError(f"device={device}: expected the index of a GPU, or cuda, cpu or mps")
    return kind, int(index)


def of_dataset(values: list[Any], index: int) -> Any:
    """Choose from one value for each dataset, the last for the rest."""
    return values[min(index, len(values) - 1)]


def _values(value: Any, between: str = "") -> list[Any]:
    """List what a value holds, nothing for an empty one."""
    if isinstance(value, str) and between:
        parts = re.split(between, value.strip().strip("[]()"))
        value = [part.strip().strip("'\"") for part in parts if part.strip()]
    values = list(value) if isinstance(value, list | tuple) else [value]
    if any(isinstance(entry, list | dict) for entry in values):
        raise ValueError("expected no lists or keys inside")
    return [entry for entry in values if entry is not None]


def _path(value: Any) -> str | None:
    """Read a path or a name that is a text; an empty one, and Python's None, is none."""
    values = _values(value)
    if len(values) > 1:
        raise ValueError("expected one value")
    read = text(values[0]).strip() if values else ""
    return None if read in ("", "None") else read


def _paths(value: Any) -> list[str] | None:
    """Read one path, or several in a list."""
    read = [_path(entry) for entry in _values(value)]
    return [entry for entry in read if entry] or None


def _label(value: Any) -> None:
    """Read nothing: a script's or a configuration's name."""


# They name a script and a configuration; which of the two trainings is meant, image_ids tells.
LABELS = ("python_name", "config_name")
KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(LABELS, _label),
    **dict.fromkeys(
        (
            *("device", "pretrained_model_name_or_path", "train_method"),
            *("datasets_folder", "source_folder", "target_folder"),
            *("output_folder", "output_folder_gen", "semantic_lora_path"),
        ),
        _path,
    ),
    **dict.fromkeys(
        (
            *("start_step", "end_step", "num_inference_steps", "train_iteration"),
            *("save_per_steps", "train_start", "train_count", "start_seed_gen", "count_gen"),
        ),
        one(whole),
    ),
    **dict.fromkeys(("guidance_scale", "cfg_eta", "semantic_cfg_scale"), one(number)),
    **dict.fromkeys(("use_trained_lora_path", "use_prompts_file", "use_random_seed"), one(truth)),
    **dict.fromkeys(("noise_scales", "scales"), many(number, SPACES)),
    "skips": many(whole, SPACES),
    **dict.fromkeys(("datasets", "image_ids"), many(name)),
    "prompt": many(text, between=""),
    **dict.fromkeys(("prompts_file", "trained_lora_path"), _paths),
}
KEYS = tuple(KINDS)

"""Own the keys that may be written in several ways: LoRAs with scales, seeds, prompts."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pairedit.data import read_prompts

DEFAULT_SCALES = (0.0, 0.2, 0.4, 0.6)
DEFAULT_SEEDS = (0, 1, 2, 3)
MOST_SEEDS = 10_000  # a list of more is a slip, and one of 10**12 would fill the memory


class Problems(list[str]):
    """Collect what is wrong, to say it all at once."""

    def expect(self, fine: bool, problem: str) -> None:
        """Note a problem unless all is fine."""
        if not fine:
            self.append(problem)

    def attempt(self, call: Callable[[], Any]) -> Any:
        """Return the call's result, or None with its ValueError noted."""
        try:
            return call()
        except ValueError as error:
            self.append(str(error))
            return None

    def done(self) -> None:
        """Raise ValueError if there is any problem."""
        if len(self) == 1:
            raise ValueError(self[0])
        if self:
            lines = "".join(f"\n  - {problem}" for problem in self)
            raise ValueError(f"{len(self)} problems with the configuration:{lines}")


def parse_sliders(
    lora: Any, scales: Sequence[float] | None
) -> list[tuple[Path, tuple[float, ...]]]:
    """Read `lora` and `scales`.

    The scales of several LoRAs are zipped: column i of the sheet takes the i-th of each. A LoRA
    without scales of its own takes `scales`; a single scale holds for every column.

    Args:
        lora: None, a path, a mapping of path and scales, or a list of these.
        scales: of the columns; None for `DEFAULT_SCALES`.

    Returns:
        Path and scales of each LoRA, all of one length.

    Raises:
        ValueError: names the entry.
    """
    if OmegaConf.is_config(lora):
        lora = OmegaConf.to_container(lora)
    entries = lora if isinstance(lora, list) else [] if lora is None else [lora]
    if isinstance(lora, list) and not entries:
        raise ValueError("lora=[]: the list is empty; leave lora out to render the base model")
    read: list[tuple[Path, list[float] | None]] = []
    for entry in entries:
        if isinstance(entry, str):
            entry = {"path": entry}
        if not isinstance(entry, Mapping) or not {"path"} <= set(entry) <= {"path", "scales"}:
            raise ValueError(f"lora: {entry!r} is not a path or {{path: .., scales: [..]}}")
        own = entry.get("scales")
        if not isinstance(entry["path"], str):
            raise ValueError(f"lora: path {entry['path']!r} is not a path")
        if own is not None and (
            not isinstance(own, list) or not own or not all(_is_number(scale) for scale in own)
        ):
            raise ValueError(f"lora: scales {own!r} of {entry['path']} are not a list of numbers")
        read.append((Path(entry["path"]).expanduser(), own))
    if scales is not None:
        # An interpolation may put anything here, whatever type the key has.
        if not len(scales) or not all(map(_is_number, scales)):
            raise ValueError(f"scales={list(scales)}: expected at least one finite number")
        if all(own is not None for _, own in read):
            reason = "every LoRA has its own" if read else "no lora is given"
            raise ValueError(f"scales={list(scales)}: without effect, {reason}")
    common = list(DEFAULT_SCALES if scales is None else scales)
    filled = [(path, common if own is None else own) for path, own in read]
    lengths = {len(own) for _, own in filled} - {1}
    if len(lengths) > 1:
        counts = ", ".join(f"{len(own)} for {path}" for path, own in filled)
        raise ValueError(f"scales: column by column they need one length, got {counts}")
    columns = lengths.pop() if lengths else 1
    wide = [
        (path, tuple(map(float, own if len(own) == columns else own * columns)))
        for path, own in filled
    ]
    rows = list(zip(*(own for _, own in wide), strict=True))
    if len(set(rows)) < len(rows):
        raise ValueError(f"scales: a column is there twice in {[list(row) for row in rows]}")
    return wide


def parse_seeds(seeds: Any) -> list[int]:
    """Read `seeds`: a number, a list, {start: 0, count: 8} or {random: 4}.

    None stands for `DEFAULT_SEEDS`.

    Returns:
        Distinct seeds; random ones are drawn anew at every call.

    Raises:
        ValueError: names the value.
    """
    if OmegaConf.is_config(seeds):
        seeds = OmegaConf.to_container(seeds)
    problem = f"seeds={seeds}: expected a list, {{start: 0, count: 8}} or {{random: 4}}"
    if seeds is None:
        found = list(DEFAULT_SEEDS)
    elif _is_whole(seeds):
        found = [seeds]
    elif isinstance(seeds, list) and seeds and all(_is_whole(seed) for seed in seeds):
        found = seeds
    elif isinstance(seeds, dict) and all(_is_whole(value) for value in seeds.values()):
        if max(seeds.get("random", 0), seeds.get("count", 0)) > MOST_SEEDS:
            raise ValueError(f"seeds={seeds}: expected at most {MOST_SEEDS} of them")
        if set(seeds) == {"random"} and seeds["random"] >= 1:
            found = [secrets.randbelow(2**31) for _ in range(seeds["random"])]
            while len(set(found)) < len(found):
                found = [secrets.randbelow(2**31) for _ in range(seeds["random"])]
        elif set(seeds) == {"start", "count"} and seeds["count"] >= 1:
            found = list(range(seeds["start"], seeds["start"] + seeds["count"]))
        else:
            raise ValueError(problem)
    else:
        raise ValueError(problem)
    problems = Problems()
    for seed in found:
        check_seed("seeds", seed, problems)
    problems.expect(len(set(found)) == len(found), f"seeds={found}: a seed is there twice")
    problems.done()
    return found


def parse_prompts(prompts: Any, file: str | None, default: str) -> list[str]:
    """Read `prompts` and `prompts_file`.

    Args:
        prompts: None, one prompt or a list.
        file: None, or a text file with one prompt a line.
        default: the prompt where neither is given.

    Raises:
        ValueError: both are given, a prompt is no text, or the file cannot be read.
    """
    if OmegaConf.is_config(prompts):
        prompts = OmegaConf.to_container(prompts)
    if file is not None:
        if prompts is not None:
            raise ValueError(f"prompts and prompts_file={file}: expected one of them")
        found = read_prompts(Path(file).expanduser())
    elif prompts is None:
        found = [default]
    else:
        found = prompts if isinstance(prompts, list) else [prompts]
        if not found or not all(isinstance(prompt, str) for prompt in found):
            raise ValueError(f"prompts={prompts}: expected text or a list of texts")
    if len(set(found)) < len(found):
        raise ValueError(f"prompts={found}: a prompt is there twice")
    return found


def check_seed(key: str, seed: int, problems: Problems) -> None:
    """Check that torch takes a seed."""
    problems.expect(0 <= seed < 2**63, f"{key}={seed}: expected 0 to 2**63 - 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

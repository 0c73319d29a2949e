"""Own the keys that may be written in several ways: LoRAs with scales, seeds, prompts."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from random import Random
from typing import Any

from omegaconf import OmegaConf

from pairedit.data.prompts import read_prompts
from pairedit.files import expand_home, locate, near_path
from pairedit.plan.usual import DEFAULT_SCALES, DEFAULT_SEEDS, GRID_SCALES
from pairedit.problems import Problems, did_you_mean, given_by
from pairedit.runs.words import as_one_text
from pairedit.schedules import ACCEPTED, is_schedule
from pairedit.settings import SEED, Local, is_local, is_seed

PROMPTS = "pkg://data/prompts"
USE = ("skip", "local", "schedule", "flowedit")
ENTRY = {"path", "scales", *USE}  # keys of an entry of `lora`
MOST_SEEDS = 10_000  # a list of more is a slip, and one of 10**12 would fill the memory


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Hold one entry of `lora`, its scales filled in."""

    path: Path
    scales: tuple[float, ...]  # one for each column
    skip: int | float | None = None  # as `Rendering.skip`; None: as the run's
    local: Local | None = None  # None: as the run's, as the next
    schedule: Any = None
    flowedit: bool | None = None
    usual: bool = False  # nobody chose the scales


def parse_sliders(lora: Any, scales: Sequence[float] | None, grid: bool = False) -> list[Wanted]:
    """Read `lora`, `scales` and `grid`.

    The scales of several LoRAs are zipped: column i of the sheet takes the i-th of each. A LoRA
    without scales of its own takes `scales`; a single scale holds for every column. As a grid,
    every scale of the first meets every scale of the second.

    Args:
        lora: None, a path, a mapping of path and what `Wanted` has besides, or a list of these.
        scales: of the columns; None for the usual ones.
        grid: combine two LoRAs instead of zipping them.

    Returns:
        The entries, their scales of one length; of a grid row by row, the first across.

    Raises:
        ValueError: names the entry.
    """
    if OmegaConf.is_config(lora):
        lora = OmegaConf.to_container(lora, resolve=True)
    entries = lora if isinstance(lora, list) else [] if lora is None else [lora]
    if isinstance(lora, list) and not entries:
        raise ValueError("lora=[]: the list is empty; leave lora out to render the base model")
    read = [_wanted(entry) for entry in entries]
    if scales is not None:
        # An interpolation may put anything here, whatever type the key has.
        wrong = [str(scale) for scale in scales if not is_number(scale)]
        if wrong or not len(scales):
            named = f", not {', '.join(wrong)}" if wrong else ""
            raise ValueError(f"scales={list(scales)}: expected at least one finite number{named}")
        if read and all(entry.scales for entry in read):
            raise ValueError(f"scales={list(scales)}: has no effect; every LoRA has its own")
    common = tuple(map(float, scales or (GRID_SCALES if grid else DEFAULT_SCALES)))
    usual = {"scales": common, "usual": scales is None}
    filled = [entry if entry.scales else replace(entry, **usual) for entry in read]
    wide = _combined(filled) if grid else _zipped(filled)
    rows = list(zip(*(entry.scales for entry in wide), strict=True))
    if len(set(rows)) < len(rows):
        what = "cell" if grid else "column"
        named = " with ".join(f"{scale:g}" for scale in _twice(rows))
        raise ValueError(f"scales: a {what} is there twice in {list(map(list, rows))}: {named}")
    return wide


def _wanted(entry: Any) -> Wanted:
    """Read one entry of `lora`; its scales are empty where it has none of its own."""
    if isinstance(entry, str):
        entry = {"path": entry}
    if not isinstance(entry, Mapping) or not {"path"} <= set(entry) <= ENTRY:
        raise ValueError(f"lora: {entry!r} is not a path or {{path: .., scales: [..], skip: ..}}")
    path, own = entry["path"], entry.get("scales")
    named = {key: entry[key] for key in USE if entry.get(key) is not None}
    if not isinstance(path, str):
        raise ValueError(f"lora: path {path!r} is not a path")
    if own is not None:
        wrong = [str(o) for o in own if not is_number(o)] if isinstance(own, list) else []
        if wrong or not isinstance(own, list) or not own:
            named = f": {', '.join(wrong)}" if wrong else ""
            raise ValueError(f"lora: scales {own!r} of {path} are not a list of numbers{named}")
    expected = {
        "skip": (is_number, "a step or a noise level"),
        "local": (is_local, "true, pixels or false"),
        "schedule": (is_schedule, ACCEPTED),
        "flowedit": (lambda value: isinstance(value, bool), "true or false"),
    }
    for key, value in named.items():
        known, accepted = expected[key]
        if not known(value):
            raise ValueError(f"lora: {key} {value!r} of {path}: expected {accepted}")
    return Wanted(path=expand_home(path), scales=tuple(map(float, own or ())), **named)


def _zipped(entries: Sequence[Wanted]) -> list[Wanted]:
    """Bring all scales to one length: column by column."""
    lengths = {len(entry.scales) for entry in entries} - {1}
    if len(lengths) > 1:
        counts = ", ".join(f"{len(entry.scales)} for {entry.path}" for entry in entries)
        raise ValueError(f"scales: LoRAs that act together need equally many, got {counts}")
    columns = lengths.pop() if lengths else 1
    return [
        entry if len(entry.scales) == columns else replace(entry, scales=entry.scales * columns)
        for entry in entries
    ]


def _combined(entries: Sequence[Wanted]) -> list[Wanted]:
    """Let every scale of the first meet every scale of the second, row by row."""
    if len(entries) != 2:
        raise ValueError(f"grid=true: needs two LoRAs, across and down; there is {len(entries)}")
    across, down = entries
    return [
        replace(across, scales=across.scales * len(down.scales)),
        replace(down, scales=tuple(s for s in down.scales for _ in across.scales)),
    ]


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
    elif isinstance(seeds, list) and seeds:
        if wrong := [str(seed) for seed in seeds if not _is_whole(seed)]:
            raise ValueError(f"seeds={seeds}: expected whole numbers, not {', '.join(wrong)}")
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
        problems.expect(is_seed(seed), f"seeds={seed}: expected {SEED}")
    problems.expect(len(set(found)) == len(found), f"seeds={found}: {_twice(found)} is there twice")
    problems.done()
    return found


def parse_prompts(prompts: Any, file: str | None, default: str) -> list[str]:
    """Read `prompts` and `prompts_file`.

    Args:
        prompts: None, one prompt or a list.
        file: None, the name of a file in `data/prompts/`, or the path of one with a prompt a line.
        default: the prompt where neither is given.

    Raises:
        ValueError: both are given, a prompt is no text, or the file cannot be read.
    """
    if OmegaConf.is_config(prompts):
        prompts = OmegaConf.to_container(prompts, resolve=True)
    if file is not None:
        if prompts is not None:
            raise ValueError(f"prompts and prompts_file={file}: expected one of them")
        with given_by("prompts_file", path := _prompts_path(file)):
            found = read_prompts(path)
    elif prompts is None:
        found = [default]
    else:
        found = prompts if isinstance(prompts, list) else [prompts]
        wrong = [str(prompt) for prompt in found if not isinstance(prompt, str)]
        if wrong or not found:
            named = f", not {', '.join(wrong)}" if wrong and found is prompts else ""
            raise ValueError(f"prompts={prompts}: expected text or a list of texts{named}")
        for prompt in found:
            if re.fullmatch(r"\S+\.txt", prompt):
                raise ValueError(f"prompts={prompt}: is a file's name; say prompts_file={prompt}")
    if len(set(found)) < len(found):
        raise ValueError(f"prompts={found}: {_twice(found)} is there twice")
    return found


def split_prompts(prompts: Any, file: str | None = None) -> list[str]:
    """Note that a list of prompts looks like one text that was split at its commas.

    Args:
        prompts: as `parse_prompts` takes it.
        file: the same; a list in brackets in it is split in the same way.
    """
    if file is not None:
        try:
            text = (path := _prompts_path(file)).read_text(encoding="utf-8-sig")
            prompts = read_prompts(path) if text.lstrip().startswith("[") else []
        except (OSError, ValueError):
            return []  # said by `parse_prompts`
    elif not OmegaConf.is_list(prompts):
        return []
    texts = [str(prompt) for prompt in prompts]
    # Whoever has put a comma into a prompt knows how; prompts of one kind share words.
    if len(texts) < 2 or any("," in text for text in texts) or all(map(_is_like(texts[0]), texts)):
        return []
    one = f"put it in quotes in {file}" if file else f"write {as_one_text('prompts', texts)}"
    return [
        f"prompts: these are {len(texts)} prompts, {' and '.join(texts)}; for a single one {one}"
    ]


def _is_like(first: str) -> Callable[[str], bool]:
    """Tell prompts that share half of their words with the first."""
    words = first.split()
    return lambda text: SequenceMatcher(None, words, text.split()).ratio() >= 0.5


def choose_prompts(
    prompts: Sequence[str], seeds: Sequence[int], per_seed: str
) -> Sequence[str] | dict[int, str]:
    """Read `prompts_per_seed`.

    Args:
        prompts: at least one.
        seeds: of the images.
        per_seed: all renders every prompt with every seed; one draws a prompt for each seed. The
            seed alone decides which, so adding seeds changes no image.

    Returns:
        All prompts, or one by seed.

    Raises:
        ValueError: neither word.
    """
    if per_seed == "all":
        return prompts
    if per_seed == "one":
        return {seed: prompts[Random(seed).randrange(len(prompts))] for seed in seeds}
    raise ValueError(f"prompts_per_seed={per_seed}: expected all or one")


def _prompts_path(name: str) -> Path:
    """Find a file of prompts: a path, or a name that ships in `data/prompts/`."""
    path, folder = expand_home(name), locate(PROMPTS)
    known = sorted(shipped.stem for shipped in folder.glob("*.txt"))
    if name in known and not path.exists():
        return folder / f"{name}.txt"
    if not path.exists():
        rule = f"expected the path of one, or one of {', '.join(known)}"
        near = did_you_mean(name, known) or near_path(path)
        raise ValueError(f"prompts_file={name}: no such file; {rule}{near}")
    return path


def is_number(value: Any) -> bool:
    """Say whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _twice(values: Sequence[Any]) -> Any:
    """Return the first of the values that has come before; None if none has."""
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

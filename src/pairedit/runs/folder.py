"""Own the folder of a run: what was asked for.

    config.yaml      the resolved configuration
    overrides.yaml   the command's words, so that `resume=<folder>` needs no others
    started.yaml     the working folder, which relative paths among them belong to; by which
                     versions, commit and machine

Nothing here imports torch: a resume that cannot be is refused at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pairedit.files import locate, read_yaml, write_yaml
from pairedit.problems import ITEM
from pairedit.runs.lock import check_unlocked
from pairedit.runs.origin import origin
from pairedit.runs.resume import AGAIN, RESUME, STARTED, WORDS, resume_command, working_folder
from pairedit.runs.words import pasteable

log = logging.getLogger(__name__)

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
STATE = "state"  # of a training that has ended, to go on from
REPORT = "report.html"
SHOWN = ("loss.png", "preview.png", "report.json", REPORT)  # what shows a training that has ended
PATHS = ("pairs", "images", "init", "path", "folder")  # last parts of keys that hold one
# What a folder holds, by a key that only its command's configuration has.
KINDS = {"datasets": "a training", "edit": "a rendering", "readers": "an evaluation"}


def check_free(folder: Path, resolved: Mapping[str, Any]) -> None:
    """Refuse a folder in which a command cannot work, before what takes long; change nothing.

    Args:
        folder: of the run to come; it may be missing.
        resolved: its configuration.

    Raises:
        ValueError: another process is at work in it, or it belongs to another command.
    """
    check_unlocked(folder)
    check_kind(folder, resolved)


def begin(
    folder: Path,
    *,
    names: Iterable[str],
    resolved: Mapping[str, Any],
    words: Sequence[str],
    resume: bool,
) -> Mapping[str, Any]:
    """Note what a run was asked for, or check that it may go on.

    Args:
        folder: of the run, locked.
        names: of the datasets, which name the folders inside.
        resolved: its configuration.
        words: the overrides that it was composed from, and options of Hydra.
        resume: go on with what is there.

    Returns:
        The configuration as the run began with it: the same, though a path may be spelt otherwise.

    Raises:
        ValueError: see `check_begin`.
    """
    known = check_begin(folder, names=names, resolved=resolved, resume=resume)
    if known is None:
        if resume:
            log.info("%s: nothing saved yet, training starts from the beginning", folder)
        known = resolved
        _note(folder, known, words)
    elif known != read_yaml(folder / CONFIG, dict):
        _note(folder, known, words)
    return known


def check_begin(
    folder: Path, *, names: Iterable[str], resolved: Mapping[str, Any], resume: bool
) -> Mapping[str, Any] | None:
    """Check that a run may begin or go on in a folder; change nothing.

    Args:
        folder: of the run; it may be missing.
        names: of the datasets, which name the folders inside.
        resolved: its configuration.
        resume: go on with what is there.

    Returns:
        The configuration that it goes on with; None where nothing is there yet.

    Raises:
        ValueError: names what is there already, or how the configurations differ.
    """
    check_kind(folder, resolved)
    names = list(names)
    if not _holds_results(folder, names):
        return None
    if not resume:
        raise ValueError(
            f"{folder}: holds a run already; continue it with {resume_command(folder)}, "
            "or choose another hydra.run.dir"
        )
    there = read_yaml(folder / CONFIG, dict)
    further = _is_further(there.get("steps"), resolved.get("steps"))
    expected = {**there, "steps": resolved["steps"]} if further else there
    advice = f"a run goes on with its own settings, and {resume_command(folder)} takes them all"
    if expected.get("steps") != resolved.get("steps"):
        advice += f"; steps is a run's total, so more than {there['steps']} goes on"
    _check_same(f"{folder}: started with another configuration", expected, resolved, folder, advice)
    if further:
        for name in names:
            check_state(folder / name, there["steps"], resolved["steps"])
    return expected


def _holds_results(folder: Path, names: Iterable[str]) -> bool:
    """Say whether a run would replace LoRAs, or what tells how those of other datasets came."""
    noted = (folder / CONFIG).is_file()
    places = folder.glob("*") if noted else [folder / name for name in names]
    kept = ("*.safetensors", f"{STATE}/*.safetensors", f"{CHECKPOINTS}/*.safetensors")
    return any(any(place.glob(one)) for place in places for one in kept)


def check_state(folder: Path, end: int, steps: int) -> None:
    """Refuse to go on with a training that has ended, and whose state is gone.

    Args:
        folder: of the training.
        end: steps that it had.
        steps: that it is to have.

    Raises:
        ValueError: says how else to go on.
    """
    states = (f"{part}/*.safetensors" for part in (STATE, CHECKPOINTS))
    if any(folder.glob("*.safetensors")) and not any(any(folder.glob(one)) for one in states):
        raise ValueError(
            f"{folder}: the training has ended after {end} steps, and the state to go on from is "
            f"gone: {STATE}/ was removed, or save_every=0 kept none. A new training may start from "
            f"its LoRA: init={pasteable(folder)} steps={steps - end}"
        )


def _is_further(there: Any, now: Any) -> bool:
    """Say whether a run is to take more steps than it was started with."""
    return isinstance(there, int) and isinstance(now, int) and there < now


def _note(folder: Path, resolved: Mapping[str, Any], words: Sequence[str]) -> None:
    """Write down what a run was asked for; the configuration last, as its steps say what is new."""
    options = [word for word in words if word.startswith(("-", "hydra."))]
    kept = [word for word in words if not word.startswith((RESUME, AGAIN))]
    started = {"working_folder": os.getcwd(), "options": options, **origin()}
    write_yaml(folder / STARTED, started)
    write_yaml(folder / WORDS, [word for word in kept if word not in options])
    write_yaml(folder / CONFIG, resolved)


def check_again(folder: Path, resolved: Mapping[str, Any]) -> None:
    """Refuse to repeat a run whose words mean something else today.

    Args:
        folder: of the run; of a sweep, whose jobs are not compared.
        resolved: the configuration of the run to come.

    Raises:
        ValueError: says how the configurations differ.
    """
    if (folder / CONFIG).is_file():
        there = read_yaml(folder / CONFIG, dict)
        _check_same(
            f"again={folder}: the configuration would be another one", there, resolved, folder
        )


def _check_same(
    problem: str, there: Mapping[str, Any], now: Mapping[str, Any], folder: Path, way: str = ""
) -> None:
    """Raise ValueError with every difference of two configurations, and a way out."""
    changed = differences(there, now, working_folder(folder))
    way = f"; {way}" if way else ""
    if len(changed) == 1:
        raise ValueError(f"{problem}: {changed[0]}{way}")
    if changed:
        lines = "".join(f"{ITEM}{line}" for line in changed)
        raise ValueError(f"{problem}{way}:{lines}")


def check_kind(folder: Path, resolved: Mapping[str, Any]) -> None:
    """Refuse a folder that belongs to another command: its config.yaml would be lost.

    Args:
        folder: of a run, locked.
        resolved: the configuration of the run to come.

    Raises:
        ValueError: names what the folder holds.
    """
    if not (folder / CONFIG).is_file():
        return
    there = read_yaml(folder / CONFIG, dict)
    kinds = [kind for key, kind in KINDS.items() if key in there and key not in resolved]
    if kinds:
        raise ValueError(f"{folder}: holds {kinds[0]}; choose another hydra.run.dir")


def differences(
    there: Mapping[str, Any], now: Mapping[str, Any], folder: Path | None = None
) -> list[str]:
    """List the keys whose values differ, as `cfg_eta: 4.0 there, 2.0 now`.

    Keys that a newer version has added count as unchanged, and so does another spelling of a path.

    Args:
        there: the configuration that a run began with.
        now: the one that it is to go on with.
        folder: the working folder it began in; None for the one of now.
    """
    before, after = flat(there), flat(yaml.safe_load(yaml.safe_dump(dict(now))))

    def same(key: str, value: Any) -> bool:
        other, start = after[key], folder or Path()
        texts = isinstance(value, str) and isinstance(other, str)
        if value == other or not texts or key.split(".")[-1] not in PATHS:
            return bool(value == other)
        return (start / locate(value)).resolve() == locate(other).resolve()

    return [
        f"{key}: {value} there, {after.get(key, 'nothing')} now"
        for key, value in before.items()
        if key not in after or not same(key, value)
    ]


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found

"""Own the YAML files of the published code: `old=train_image.yaml` becomes overrides of ours.

One old file holds a training and a rendering; each command takes its half (`plan.oldtrain`,
`plan.oldgen`). Words of the command line win over the file. What cannot be honoured is refused, all
of it at once: no key is dropped in silence. docs/files.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from pairedit.files import expand_home, near_path, yaml_reason
from pairedit.plan.oldgen import GEN
from pairedit.plan.oldtrain import TRAIN
from pairedit.plan.oldvalues import KINDS, device_and_index
from pairedit.problems import Problems
from pairedit.runs.words import key_of, quoted

WORD = "old="
HALVES = {"train": TRAIN, "gen": GEN}

# Reads some keys of an old file; `given` are our words that win, by key; it may add a note.
Part = Callable[[Mapping[str, Any], Mapping[str, str], list[str]], dict[str, str]]


def expand(command: str, words: Sequence[str], notes: list[str] | None = None) -> list[str]:
    """Replace the word `old=FILE` of a command line by what the file says.

    Args:
        command: train or gen; other commands keep their words.
        words: the command line without the program.
        notes: receives what the user should know.

    Returns:
        The words, with -m in front where the file asks for several runs.

    Raises:
        ValueError: lists every key and value of the file that cannot be honoured.
    """
    named = [word for word in words if word.startswith(WORD)]
    if not named or command not in HALVES:
        return list(words)
    kept = [word for word in words if word not in named]
    path = expand_home(named[-1].removeprefix(WORD).strip("'\""))
    overrides = translate(command, _read(path), str(path), kept, notes)
    parser = OverridesParser.create()
    several = any(map(lambda word: parser.parse_override(word).is_sweep_override(), overrides))
    flag = ["-m"] if several and not {"-m", "--multirun"} & set(kept) else []
    return [*flag, *overrides, *kept]


def translate(
    command: str,
    old: Mapping[str, Any],
    name: str,
    given: Sequence[str] = (),
    notes: list[str] | None = None,
) -> list[str]:
    """Write one half of an old file as overrides.

    Args:
        command: train or gen.
        old: the file's content.
        name: of the file, for messages.
        given: words of ours on the command line; their keys win.
        notes: receives what the user should know.

    Raises:
        ValueError: lists every problem.
    """
    problems = [f"{key}: is not a key of the published files" for key in old if key not in KINDS]
    notes = [] if notes is None else notes
    ours = {key_of(word): word.partition("=")[2] for word in given}
    known: dict[str, Any] = {}
    for key, value in old.items():
        try:
            if key in KINDS and (read := KINDS[key](value)) is not None:
                known[key] = read
        except ValueError as error:
            problems.append(f"{key}={value}: {error}")
    overrides: dict[str, str] = {}
    # Each part is read on its own, so that one problem hides no other.
    for part in (_shared, *HALVES.get(command, ())):
        try:
            overrides |= part(known, ours, notes)
        except ValueError as error:
            problems.append(str(error))
    Problems(dict.fromkeys(problems)).done(where=name, of="the old file")
    return [f"{key}={value}" for key, value in overrides.items() if key not in ours]


def _shared(old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Read device, model and what both halves count in."""
    keys = ("num_inference_steps", "guidance_scale")
    overrides = {key: quoted(old[key]) for key in keys if key in old}
    path = old.get("pretrained_model_name_or_path")
    if path is not None and "model" not in given:
        kind = "schnell" if "schnell" in path else "dev"
        overrides["model"] = "flux-mini" if "flux_mini" in path else f"flux-{kind}"
        overrides["model.path"] = quoted(path)
    if "device" in old and "device" not in given:
        device, index = device_and_index(old["device"])
        overrides["device"] = quoted(device)
        if index:
            notes.append(
                f"device: {old['device']} names another GPU than the first; "
                f"CUDA_VISIBLE_DEVICES={index} in front of the command chooses it"
            )
    return overrides


def _read(path: Path) -> Mapping[str, Any]:
    """Read an old file.

    Raises:
        ValueError: names the file and why it cannot be read.
    """
    try:
        old = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ValueError(f"old={path}: {why}{near_path(path)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"old={path}: not a YAML file ({yaml_reason(error)})") from error
    if not isinstance(old, Mapping):
        raise ValueError(f"old={path}: expected keys with values")
    return old

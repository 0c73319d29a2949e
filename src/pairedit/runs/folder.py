"""Own the folder of a run: one process at a time, what was asked for.

    config.yaml      the resolved configuration
    overrides.yaml   the command's words, so that `resume=<folder>` needs no others
    .lock            locked while a process works here; the system unlocks it when that ends

Nothing here imports torch: a resume that cannot be is refused at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pairedit.files import read_yaml, remove_temporaries, write_yaml
from pairedit.runs.resume import RESUME, WORDS, resume_command

log = logging.getLogger(__name__)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CONFIG, LOCK = "config.yaml", ".lock"
CHECKPOINTS = "checkpoints"
# What a folder holds, by a key that only its command's configuration has.
KINDS = {"datasets": "a training", "edit": "a rendering", "readers": "an evaluation"}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process out of a folder, and clear up after one that was killed.

    Args:
        folder: made if missing.

    Raises:
        ValueError: another process is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            who = file.read(20).strip() or "unknown"
            raise ValueError(f"{folder}: another run is at work here (process {who})") from error
        except OSError as error:
            log.warning("%s: cannot be locked (%s); start no second run in it", folder, error)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        remove_temporaries(folder)
        yield


def begin(
    folder: Path,
    *,
    names: Iterable[str],
    resolved: Mapping[str, Any],
    words: Sequence[str],
    resume: bool,
) -> None:
    """Note what a run was asked for, or check that it may go on.

    Args:
        folder: of the run, locked.
        names: of the datasets, which name the folders inside.
        resolved: its configuration.
        words: the overrides that it was composed from.
        resume: go on with what is there.

    Raises:
        ValueError: names what is there already, or how the configurations differ.
    """
    check_kind(folder, resolved)
    # What would be a loss: LoRAs of these datasets, and any training that is not finished.
    results = [path for name in names for path in (folder / name).glob("*.safetensors")]
    if not results and not any(folder.glob(f"*/{CHECKPOINTS}/*.safetensors")):
        if resume:
            log.info("%s: nothing saved yet, training starts from the beginning", folder)
        write_yaml(folder / WORDS, [word for word in words if not word.startswith(RESUME)])
        write_yaml(folder / CONFIG, resolved)
        return
    if not resume:
        raise ValueError(
            f"{folder}: holds a run already; continue it with {resume_command(folder)}, "
            "or choose another hydra.run.dir"
        )
    changed = differences(read_yaml(folder / CONFIG, dict), resolved)
    if len(changed) == 1:
        raise ValueError(f"{folder}: started with another configuration: {changed[0]}")
    if changed:
        lines = "".join(f"\n  - {line}" for line in changed)
        raise ValueError(f"{folder}: started with another configuration:{lines}")


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


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the keys whose values differ, as `cfg_eta: 4.0 there, 2.0 now`.

    Keys that a newer version has added count as unchanged.
    """
    before, after = _flat(there), _flat(yaml.safe_load(yaml.safe_dump(dict(now))))
    return [
        f"{key}: {value} there, {after.get(key, 'nothing')} now"
        for key, value in before.items()
        if key not in after or after[key] != value
    ]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat

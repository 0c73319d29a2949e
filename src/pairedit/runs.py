"""Own the folder of a run: one process at a time, what was asked for, start or go on.

    config.yaml      the resolved configuration
    overrides.yaml   the command's words, so that `resume=<folder>` needs no others
    .lock            locked while a process works here; the system unlocks it when that ends

Nothing here imports torch: a resume that cannot be is refused at once.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from pairedit.config import CONF
from pairedit.data import expand_home, remove_temporaries, replacing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

CONFIG, WORDS, LOCK = "config.yaml", "overrides.yaml", ".lock"
SWEEP = "multirun.yaml"  # written by Hydra
CHECKPOINTS = "checkpoints"
RESUME = "resume="
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


def expand_resume(arguments: Sequence[str]) -> list[str]:
    """Turn `resume=<folder>` into the command that started the run, to go on in that folder.

    `resume=auto` without a folder is turned towards the newest run of the same command.

    Args:
        arguments: of the command line.

    Returns:
        Arguments for Hydra, in which resume is auto.

    Raises:
        ValueError: the folder holds no run, or its files try to choose code.
    """
    asked = [word for word in arguments if word.startswith(RESUME)]
    others = [word for word in arguments if not word.startswith(RESUME)]
    if len(asked) != 1 or (value := asked[0].removeprefix(RESUME)) in ("", "null"):
        return list(arguments)
    placed = [word for word in others if word.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    if value == "auto":
        place = [] if placed else _newest_run(others)
        return [*others, *asked, *place]
    folder = expand_home(value.strip("'\""))
    if placed:
        raise ValueError(f"resume={folder}: names the folder already, leave out {placed[0]}")
    words, place = _started_by(folder)
    chosen = {_key(word) for word in others}
    words = [word for word in words if _key(word) not in chosen]
    return [*words, *others, f"{RESUME}auto", *place]


def has_begun(folder: Path) -> bool:
    """Say whether a training, or a sweep, can be continued in a folder."""
    return (folder / WORDS).is_file() or (folder / SWEEP).is_file()


def resume_command(folder: Path) -> str:
    """Write the command that goes on with a run or a sweep, for a shell."""
    return f"pairedit-train {RESUME}{pasteable(folder)}"


def pasteable(path: Path) -> str:
    """Write an absolute path so that Hydra takes it as a value, within shell quotes if need be."""
    quoted = _quoted(path)
    return quoted if quoted[0] != '"' else "'" + quoted.replace("'", "'\\''") + "'"


def write_yaml(path: Path, content: Any) -> None:
    """Write plain values as YAML, replaced atomically."""
    plain = dict(content) if isinstance(content, Mapping) else list(content)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_yaml(path: Path, kind: type) -> Any:
    """Read plain values.

    Raises:
        ValueError: names the file when it is missing, damaged or holds another kind.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ValueError(f"{path}: cannot be read ({reason})") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path}: damaged, expected a {kind.__name__}")
    return content


def _started_by(folder: Path) -> tuple[list[str], list[str]]:
    """Return the overrides a run or sweep was started with, and those that name its folder."""
    if (folder / WORDS).is_file():
        path, words = folder / WORDS, read_yaml(folder / WORDS, list)
        place = [f"hydra.run.dir={_quoted(folder)}"]
    elif (folder / SWEEP).is_file():
        path, words = folder / SWEEP, _sweep_words(folder / SWEEP)
        place = [f"hydra.sweep.dir={_quoted(folder)}", "-m"]
    else:
        raise ValueError(f"resume={folder}: no run to continue there (no {WORDS})")
    for word in words:
        # A folder may come from somebody else: it must not say what code runs.
        if not isinstance(word, str) or re.search(r"_target_|^-|^[+~]*hydra[./@=]", word):
            raise ValueError(
                f"{path}: {word!r} would choose the code that runs; "
                "start the same command yourself, with resume=auto"
            )
    return [word for word in words if not word.startswith(RESUME)], place


def _newest_run(words: Sequence[str]) -> list[str]:
    """Name the folder of the newest run or sweep that was started with the same overrides."""
    plain = sorted(word for word in words if not word.startswith(("hydra.", "-")))
    hydra = yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))["hydra"]
    found = []
    for kind, name in (("run", WORDS), ("sweep", SWEEP)):
        if kind == "run" and {"-m", "--multirun"} & set(words):
            continue
        # The last part of these is the time.
        for path in Path(hydra[kind]["dir"]).parent.glob(f"*/{name}"):
            # One that cannot be read is none of this command.
            with suppress(ValueError):
                there, _ = _started_by(path.parent)
                if sorted(there) == plain:
                    place = f"hydra.{kind}.dir={_quoted(path.parent)}"
                    found.append((path.parent.name, place))
    return [place for _, place in sorted(found)[-1:]]


def _sweep_words(path: Path) -> list[Any]:
    """Read the overrides from what Hydra writes into a sweep's folder."""
    try:
        return list(read_yaml(path, dict)["hydra"]["overrides"]["task"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged, holds no overrides") from error


def _key(word: str) -> str:
    """Return what an override sets."""
    return word.lstrip("+~").split("=", 1)[0]


def _quoted(path: Path) -> str:
    """Write an absolute path as a value for Hydra."""
    text = str(path.resolve())
    if re.fullmatch(r"[\w/.+-]+", text, flags=re.ASCII):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one with dotted keys."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat

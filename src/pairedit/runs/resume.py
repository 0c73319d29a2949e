"""Own how a run goes on: `resume=<folder>` becomes the command that started it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from pairedit.files import CONF, expand_home, read_yaml

WORDS = "overrides.yaml"
SWEEP = "multirun.yaml"  # written by Hydra
RESUME = "resume="


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

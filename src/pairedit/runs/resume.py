"""Own how a run goes on or is repeated: `resume=<folder>`, `again=<folder>` become its command.

A run's words may hold relative paths, so both go back to the working folder that it was started in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from pairedit.files import CONF, expand_home, near_path, read_yaml
from pairedit.runs import leftovers
from pairedit.runs.words import key_of, line, pasteable, quoted_path

WORDS = "overrides.yaml"
STARTED = "started.yaml"  # from where, and with which options of Hydra
SWEEP = "multirun.yaml"  # written by Hydra
ANY_RUN = "pairedit-train resume=RUN"  # goes on with a run whose folder is not known
RESUME, AGAIN = "resume=", "again="
# Values of theirs are paths: another working folder must not change what they mean.
PATHS = r"pairs|images|init|old|model\.path|datasets\.[^.]+\.folder|hydra\.(run|sweep)\.dir"
DIRECTORY = ("--config-dir", "-cd")  # holds a user's own options
SEARCHED = "hydra.searchpath"  # as do these


@dataclass(frozen=True, kw_only=True)
class Start:
    """Hold how a run or a sweep was started."""

    words: list[str]
    options: list[str]  # such as --config-dir=/home/me/options
    working_folder: Path | None  # None where nobody knows
    sweep: bool

    def place(self, folder: Path) -> list[str]:
        """Write the words that name a folder for it."""
        if self.sweep:
            return [f"hydra.sweep.dir={quoted_path(folder)}", "-m"]
        return [f"hydra.run.dir={quoted_path(folder)}"]


def expand_resume(arguments: Sequence[str]) -> list[str]:
    """Turn `resume=<folder>` or `again=<folder>` into the command that started the run.

    `resume` goes on in that folder, `again` starts in a new one. `resume=auto` without a folder is
    turned towards the newest run of the same command. The working folder becomes that of the run.

    Args:
        arguments: of the command line.

    Returns:
        Arguments for Hydra, in which resume is auto or left out.

    Raises:
        ValueError: the folder holds no run, or its files try to choose code.
    """
    asked = [word for word in arguments if word.startswith((RESUME, AGAIN))]
    others = [word for word in arguments if word not in asked]
    if len(asked) > 1 and len({key_of(word) for word in asked}) > 1:
        raise ValueError(f"{' '.join(asked)}: expected one of them")
    if len(asked) != 1 or (value := asked[0].partition("=")[2]) in ("", "null"):
        return list(arguments)
    again = asked[0].startswith(AGAIN)
    placed = [word for word in others if word.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    if value == "auto" and not again:
        place = [] if placed else _newest_run(others)
        return [*others, *asked, *place]
    folder = expand_home(value.strip("'\"")).resolve()
    if placed and not again:
        raise ValueError(f"resume={folder}: names the folder already, leave out {placed[0]}")
    start = _started_by(folder, key_of(asked[0]))
    _check_options(folder, start, others, again)
    others = _absolute(others)
    place = start.place(folder)
    if again:
        kind = "sweep" if start.sweep else "run"
        place = [*([] if placed else start.place(fresh_folder(_parent(kind)))), *place[1:]]
    if start.working_folder and start.working_folder.is_dir():
        os.chdir(start.working_folder)
    chosen = {key_of(word) for word in others}
    words = [word for word in start.words if key_of(word) not in chosen]
    return [*words, *others, *([] if again else [f"{RESUME}auto"]), *dict.fromkeys(place)]


def again_folder(arguments: Sequence[str]) -> Path | None:
    """Return the folder of the one run that is repeated with nothing changed, to compare with."""
    asked = [word.removeprefix(AGAIN) for word in arguments if word.startswith(AGAIN)]
    changed = [w for w in arguments if re.match(r"[+~]*(?!hydra\.|again=|-)[^=]+=", w)]
    if not asked or changed:
        return None
    return expand_home(asked[0].strip("'\"")).absolute()


def working_folder(folder: Path) -> Path | None:
    """Say where the run of a folder was started, if that is known."""
    with suppress(ValueError):
        return _started_by(folder).working_folder
    return None


def has_begun(folder: Path) -> bool:
    """Say whether a training, or a sweep, can be continued in a folder."""
    return (folder / WORDS).is_file() or (folder / SWEEP).is_file()


def resume_command(folder: Path, key: str = "resume") -> str:
    """Write the command that goes on with a run or a sweep, for a shell."""
    with suppress(ValueError):
        if options := _started_by(folder, key).options:
            return f"{line('pairedit-train', options)} {key}={pasteable(folder)}"
    return f"pairedit-train {key}={pasteable(folder)}"


def training_of(lora: Path) -> str:
    """Write the command that goes on with the training of a LoRA, from where its file lies."""
    run = lora.parent.parent
    return resume_command(run) if (run / WORDS).is_file() else ANY_RUN


def fresh_folder(parent: str | Path) -> Path:
    """Make a folder named by the time, which nobody else gets in the same second."""
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    path = Path(parent, name)
    leftovers.note(path.parent)
    for number in range(2, 1000):
        try:
            path.mkdir(parents=True)
            leftovers.add(path)
            break
        except FileExistsError:
            path = Path(parent, f"{name}_{number}")
        except OSError:
            break  # whoever writes there will say why that cannot be
    return path


def hydra_options(sources: Sequence[Any], overrides: Sequence[str]) -> list[str]:
    """List what a command was given to find a user's own options by.

    Args:
        sources: `hydra.runtime.config_sources`.
        overrides: `hydra.overrides.hydra`.
    """
    options = [
        f"--config-dir={source['path']}"
        for source in sources
        if source["provider"] == "command-line"
    ]
    return [*options, *(word for word in overrides if key_of(word) == SEARCHED)]


def _started_by(folder: Path, key: str = "resume") -> Start:
    """Read how a run or sweep was started."""
    known: dict[str, Any] = {}
    sweep = not (folder / WORDS).is_file()
    if not sweep:
        path, words = folder / WORDS, read_yaml(folder / WORDS, list)
        if (folder / STARTED).is_file():
            known = read_yaml(folder / STARTED, dict)
    elif (folder / SWEEP).is_file():
        path = folder / SWEEP
        words, known = _sweep(path)
    else:
        raise ValueError(_no_run(folder, key))
    for word in words:
        # A folder may come from somebody else: it must not say what code runs.
        if not isinstance(word, str) or re.search(r"_target_|^-|^[+~]*hydra[./@=]", word):
            raise ValueError(
                f"{path}: {word!r} would choose the code that runs; "
                "start the same command yourself, with resume=auto"
            )
    place, options = known.get("working_folder"), known.get("options") or []
    return Start(
        words=[word for word in words if not word.startswith((RESUME, AGAIN))],
        options=[option for option in options if isinstance(option, str)],
        working_folder=Path(place) if isinstance(place, str) else None,
        sweep=sweep,
    )


def _no_run(folder: Path, key: str) -> str:
    """Say that a folder holds no run, what the key is for, and which folder was probably meant."""
    reason = f"no {WORDS} in it" if folder.is_dir() else "no such folder"
    verb, does = {
        "resume": ("continue", "goes on with a run"),
        "again": ("repeat", "starts a run once more, in a new folder"),
    }[key]
    parent = folder.parent
    near = f"; did you mean {parent}?" if has_begun(parent) else near_path(folder)
    return (
        f"{key}={folder}: no run to {verb} there ({reason}); {key}= {does}, and needs the folder "
        f"that the run wrote, such as outputs/train/2026-01-31_12-00-00{near}"
    )


def _check_options(folder: Path, start: Start, words: Sequence[str], again: bool) -> None:
    """Refuse to go on without the options of the start: the user, not a folder, says what runs."""
    given = any(word.split("=")[0] in (*DIRECTORY, SEARCHED) for word in words)
    if start.options and not given:
        key = "again" if again else "resume"
        raise ValueError(
            f"{key}={folder}: the run was started with {' '.join(start.options)}; "
            f"continue with: {resume_command(folder, key)}"
        )


def _absolute(words: Sequence[str]) -> list[str]:
    """Let relative paths of the command line mean the same from another working folder."""
    found: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        path = value.strip("'\"")
        if found and found[-1] in DIRECTORY:
            found.append(str(Path(word).absolute()))
        elif key in DIRECTORY and equals:
            found.append(f"{key}={Path(value).absolute()}")
        elif re.fullmatch(PATHS, key) and (Path(path).exists() or key.startswith("hydra.")):
            found.append(f"{key}={quoted_path(expand_home(path).absolute())}")
        else:
            found.append(word)
    return found


def _newest_run(words: Sequence[str]) -> list[str]:
    """Name the folder of the newest run or sweep that was started with the same overrides."""
    plain = sorted(word for word in words if not word.startswith(("hydra.", "hydra/", "-")))
    found = []
    for kind, name in (("run", WORDS), ("sweep", SWEEP)):
        if kind == "run" and {"-m", "--multirun"} & set(words):
            continue
        # The last part of these is the time.
        for path in _parent(kind).glob(f"*/{name}"):
            # One that cannot be read is none of this command.
            with suppress(ValueError):
                if sorted(_started_by(path.parent).words) == plain:
                    place = f"hydra.{kind}.dir={quoted_path(path.parent)}"
                    found.append((path.parent.name, place))
    return [place for _, place in sorted(found)[-1:]]


def _parent(kind: str) -> Path:
    """Name the folder in which runs, or sweeps, get their folders by default."""
    hydra = yaml.safe_load((CONF / "train.yaml").read_text(encoding="utf-8"))["hydra"]
    return Path(re.sub(r"^\$\{pairedit\.fresh:(.*)\}$", r"\1", hydra[kind]["dir"]))


def _sweep(path: Path) -> tuple[list[Any], dict[str, Any]]:
    """Read the overrides, and from where they came, from what Hydra writes for a sweep."""
    try:
        hydra = read_yaml(path, dict)["hydra"]
        words = list(hydra["overrides"]["task"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged, holds no overrides") from error
    known: dict[str, Any] = {}
    with suppress(KeyError, TypeError, AttributeError):
        runtime = hydra["runtime"]
        known["working_folder"] = runtime["cwd"]
        known["options"] = hydra_options(
            runtime["config_sources"], hydra["overrides"].get("hydra") or []
        )
    return words, known

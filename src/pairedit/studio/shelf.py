"""Own what the outputs folder holds: trainings and their sliders, told from their files alone.

    waiting.yaml   in the folder of a training that waits for its turn: its words, and since when
    title.yaml     what the page calls it, where somebody has named it
    output.txt     what the training has printed

A browser names a run by its key, which is looked up here and never becomes part of a path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pairedit.files import read_yaml
from pairedit.runs.folder import CHECKPOINTS, CONFIG
from pairedit.runs.lock import LOCK
from pairedit.runs.resume import WORDS

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WAITING, OUTPUT, TITLE = "waiting.yaml", "output.txt", "title.yaml"
OWN = "studio"  # the folder of what the page itself keeps
TRASH = "trash"
SKIPPED = (OWN, TRASH, CHECKPOINTS, "state", "images", "previews", "sheets", "animations")
DEEPEST = 5  # folders below the outputs folder
SLIDER = "semantic.safetensors"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Hold what the folder of one training says: of one dataset, whose slider it is."""

    key: str  # the folder below the outputs folder
    run: Path  # of the command
    folder: Path  # of the dataset inside of it
    state: str  # waiting, starting, running, stopped, failed or done
    step: int
    steps: int
    seconds: float  # of training until then
    base: str
    method: str
    report: dict[str, Any]
    when: datetime
    title: str = ""

    @property
    def name(self) -> str:
        """Return what somebody has called it, or what it was trained on."""
        if self.title:
            return self.title
        return self.folder.name if self.folder != self.run else self.run.name

    @property
    def slider(self) -> Path | None:
        """Return its LoRA, once there is one."""
        path = self.folder / SLIDER
        return path if path.is_file() and self.state != "running" else None

    @property
    def verdict(self) -> str:
        """Return the verdict in a word, or its state while it has none."""
        return str(self.report.get("verdict") or self.state)


class Shelf:
    """List the trainings of an outputs folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder, which need not be there yet."""
        self.folder = folder

    def runs(self) -> dict[str, Run]:
        """Return every training by its key, the newest first."""
        found = [run for place in self._places() for run in self._read(place)]
        found.sort(key=lambda run: run.when, reverse=True)
        return {run.key: run for run in found}

    def waiting(self) -> list[Path]:
        """Return the folders of trainings that wait, the first to go first."""
        places = [place for place in self._places() if (place / WAITING).is_file()]
        return sorted(places, key=lambda place: (place / WAITING).stat().st_mtime_ns)

    def _places(self) -> Iterator[Path]:
        """Walk over the folders that hold a training, or will."""
        top = len(self.folder.parts)
        for place, inside, files in os.walk(self.folder):
            path = Path(place)
            deep = len(path.parts) - top
            inside[:] = sorted(n for n in inside if n not in SKIPPED and n[0] != ".")
            if deep >= DEEPEST:
                inside.clear()
            if {WAITING, WORDS, OUTPUT} & set(files) or (path / "report.json").is_file():
                yield path

    def _read(self, place: Path) -> Iterator[Run]:
        """Read the trainings of one folder."""
        config: dict[str, Any] = {}
        with suppress(ValueError):
            config = read_yaml(place / CONFIG, dict)
        if not config and not (place / WAITING).is_file() and not (place / OUTPUT).is_file():
            # A slider trained from Python has no folder of a command around it.
            if (place / SLIDER).is_file() and not (place.parent / CONFIG).is_file():
                yield self._run(place, place, {}, running=is_at_work(place) is not None)
            return
        if config and "datasets" not in config:
            return
        running = is_at_work(place) is not None
        names = [n for n in config.get("datasets") or {} if (place / n).is_dir()] or [
            path.name for path in sorted(place.iterdir()) if (path / "metrics.jsonl").is_file()
        ]
        for folder in [place / name for name in names] or [place]:
            yield self._run(place, folder, config, running=running)

    def _run(self, place: Path, folder: Path, config: dict[str, Any], *, running: bool) -> Run:
        """Read one dataset of a training."""
        last = last_line(folder / "metrics.jsonl")
        report: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        model = config.get("model") or {}
        return Run(
            key=str(folder.relative_to(self.folder)),
            run=place,
            folder=folder,
            state=_state(place, folder, running, report),
            step=int(last.get("step", 0)),
            steps=int(config.get("steps") or 0),
            seconds=float(last.get("seconds", 0)),
            base=str(model.get("name", "")),
            method=_method(config),
            report=report,
            when=datetime.fromtimestamp(_time(folder)),
            title=_title(place),
        )


def is_at_work(place: Path) -> int | None:
    """Return the number of the process that works in a folder, if one does."""
    try:
        number = int((place / LOCK).read_text(encoding="utf-8").strip())
        os.kill(number, 0)
    except (OSError, ValueError, OverflowError):
        return None
    if fcntl is None or number <= 0:
        return None
    with (place / LOCK).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return number
        except OSError:
            return None
    return None


def last_line(path: Path) -> dict[str, Any]:
    """Read the last whole line of a file of JSON lines; empty where there is none."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        whole = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
        found = json.loads(whole)
        return found if isinstance(found, dict) else {}
    return {}


def losses(path: Path) -> list[tuple[int, float]]:
    """Read the loss of every step that has been written whole."""
    found: list[tuple[int, float]] = []
    with suppress(OSError), path.open("rb") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                found.append((int(entry["step"]), float(entry["loss"])))
    return found


def _state(place: Path, folder: Path, running: bool, report: dict[str, Any]) -> str:
    """Say in a word how far a training has come."""
    if (place / WAITING).is_file():
        return "waiting"
    done = (folder / SLIDER).is_file()
    if running:
        return "done" if done and report else "running"
    if any((folder / CHECKPOINTS).glob("*.safetensors")):
        return "stopped"
    if done or any(folder.glob("*.safetensors")):
        return "done"
    return "failed" if (place / OUTPUT).is_file() else "stopped"


def _title(place: Path) -> str:
    """Return what somebody has called a training."""
    with suppress(ValueError):
        return str(read_yaml(place / TITLE, dict).get("title", ""))
    return ""


def _method(config: dict[str, Any]) -> str:
    """Name the class of a method."""
    method = config.get("method")
    target = method.get("_target_", "") if isinstance(method, dict) else ""
    return str(target).rpartition(".")[2]


def _time(folder: Path) -> float:
    """Return when a folder was last written to, as far as its main files tell."""
    times = [0.0]
    for name in (SLIDER, "metrics.jsonl", WORDS, "."):
        with suppress(OSError):
            times.append((folder / name).stat().st_mtime)
            if name != ".":
                break
    return times[-1]

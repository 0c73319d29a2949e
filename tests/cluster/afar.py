"""A sweep as a command of its own, and what is waited for while it runs elsewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pairedit.sweeps import outcome

TRAIN = "from pairedit.cli import train; train()"


def needs(*modules: str) -> None:
    """Skip where an extra is not installed."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)}: not installed; make test-cluster installs it")


class Sweep:
    """Run the ablation sweep, cut to eight small jobs, as a command of its own."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def start(self, folder: Path, *words: str, env: dict[str, str] | None = None):
        """Start it; words given later win."""
        last = {word.partition("=")[0]: word for word in [*self._words, *words]}
        command = [sys.executable, "-c", TRAIN, f"hydra.sweep.dir={folder}", *last.values()]
        return subprocess.Popen(
            command,
            env=env or dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder.parent,
        )

    def run(self, folder: Path, *words: str, env: dict[str, str] | None = None):
        """Run it to its end; return its exit code and what it said."""
        process = self.start(folder, *words, env=env)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err


def loras(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every LoRA of a sweep by its place."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("*/*/*.safetensors"))
    }


def eventually(found: Callable[[], object], seconds: float = 180.0):
    """Wait until something is there; return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.2)
    raise AssertionError("it never came")


def at_work(folder: Path, steps: int = 1) -> list[tuple[Path, outcome.Outcome]]:
    """List the jobs that are training and have saved a checkpoint."""
    found = []
    for path in folder.glob(f"*/{outcome.NAME}"):
        note = outcome.read(path.parent)
        saved = any(path.parent.glob("*/checkpoints/*.safetensors"))
        if note and note.status == outcome.BEGUN and saved:
            found.append((path.parent, note))
    return found

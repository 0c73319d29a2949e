"""Run one command in a process of its own, and let a fault happen to it."""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 120  # s; a command that takes longer hangs
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
CAPABILITY_VERSION_3, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 0x20080522, 1, 2


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold what a user would see of one command."""

    code: int  # negative: the signal that killed it
    out: str
    err: str
    seconds: float
    hung: bool

    @property
    def traceback(self) -> bool:
        """Say whether the user saw Python's insides."""
        return bool(re.search(r"Traceback|HYDRA_FULL_ERROR|Logging error", self.out + self.err))


class Child:
    """Hold a running command."""

    def __init__(self, command: str, words: Sequence[str], folder: Path, **faults: Any) -> None:
        """Start it in a folder of its own.

        Args:
            command: train or gen.
            words: its arguments.
            folder: working directory, made if missing.
            faults: arguments of `_suffer`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = folder / f".output-{time.monotonic_ns()}"
        self._started = time.monotonic()
        self._process = _context().Process(
            target=_run, args=(command, list(words), str(folder), str(self._log), faults)
        )
        self._process.start()

    def kill(
        self,
        *,
        after: float = 0.0,
        file: str | None = None,
        lines: int = 0,
        number: int = signal.SIGKILL,
    ) -> None:
        """Send a signal, unless the command has come to its end before.

        Args:
            after: seconds to wait, from the start or from the next condition on.
            file: a pattern inside its folder; wait until such a file has so many lines.
            lines: see above.
            number: of the signal.
        """
        if file:
            while self._process.exitcode is None and _count(self._folder, file) < lines:
                time.sleep(0.002)
        self._process.join(after)
        if self._process.exitcode is None:
            os.kill(self._process.pid, number)

    def finish(self) -> Outcome:
        """Wait for the end."""
        # In small pieces: a machine that pauses the tests pauses their clock as well.
        for _ in range(LIMIT):
            self._process.join(1)
            if self._process.exitcode is not None:
                break
        hung = self._process.exitcode is None
        if hung:
            self._process.kill()
            self._process.join()
        texts = []
        for end in (".out", ".err"):
            path = Path(str(self._log) + end)
            texts.append(path.read_text(errors="replace") if path.exists() else "")
            path.unlink(missing_ok=True)
        return Outcome(
            code=self._process.exitcode,
            out=texts[0],
            err=texts[1],
            seconds=time.monotonic() - self._started,
            hung=hung,
        )


def _count(folder: Path, pattern: str) -> int:
    """Count the lines of a file that may not exist yet: -1 without one."""
    return max((path.read_bytes().count(b"\n") for path in folder.glob(pattern)), default=-1)


def run(command: str, words: Sequence[str], folder: Path, **faults: Any) -> Outcome:
    """Run a command to its end."""
    return Child(command, words, folder, **faults).finish()


def _context() -> multiprocessing.context.BaseContext:
    """Fork from a process that has imported everything once: a command starts in no time."""
    context = multiprocessing.get_context("forkserver")
    jobs = ["pairedit.jobs.train", "pairedit.jobs.gen", "pairedit.jobs.eval"]
    base = "pairedit.bases.flux1.load"  # which jobs import only once they open a model
    context.set_forkserver_preload(["still", "pairedit.cli", *jobs, base, "peft", "child", "warm"])
    return context


def _run(command: str, words: list[str], folder: str, log: str, faults: Mapping[str, Any]) -> None:
    """Be the command."""
    gc.freeze()
    gc.enable()
    for number, end in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(log + end, os.O_WRONLY | os.O_CREAT), number)
    # Where tests run in the background the shell has had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    import torch

    from pairedit import cli
    from pairedit.jobs import shooting

    torch.set_num_threads(1)
    # A report shows more people where there is time for it: on a busy machine not the same ones.
    shooting.further_lanes = lambda *_: 0
    sys.argv = [f"pairedit-{command}", *words]
    _suffer(**faults)
    getattr(cli, command)()


def _suffer(
    *,
    kill_at: int | None = None,
    count_in: str | None = None,
    file_size: int | None = None,
    memory: int | None = None,
    powerless: bool = False,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Let a fault happen to this process.

    Args:
        kill_at: SIGKILL before the change number `kill_at` of the file system.
        count_in: a file that receives the number of such changes so far.
        file_size: bytes; the system refuses to write beyond, as it does on a full disk.
        memory: bytes that may be allocated from here on.
        powerless: root may no longer write where permissions forbid it.
        variables: of the environment.
    """
    os.environ.update(variables or {})
    if kill_at is not None or count_in is not None:
        _watch(kill_at, count_in)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    if powerless:
        _drop_root()


def _watch(kill_at: int | None, count_in: str | None) -> None:
    """Count what changes the file system: opening for writing, renaming, removing."""
    seen = 0
    here = os.getcwd()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(path, str) and bool(flags & WRITING) and path != count_in
            changes = changes and os.path.abspath(path).startswith(here)
        else:
            changes = event in CHANGES
        if not changes:
            return
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if count_in:
            descriptor = os.open(count_in, os.O_WRONLY | os.O_CREAT)
            os.write(descriptor, json.dumps(seen).encode())
            os.close(descriptor)

    sys.addaudithook(hook)


def _drop_root() -> None:
    """Become a root to whom permissions apply; for anybody else they do already."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low words first
    libc.capget(header, sets)
    for index in (0, 1):
        sets[index] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")

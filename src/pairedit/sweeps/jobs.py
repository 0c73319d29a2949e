"""Own the jobs of one command: run each here or in another process, and say which ones failed.

A `Jobs` is pickled with its jobs. What comes out elsewhere starts from the configuration that was
composed at home, in the same working folder, with one GPU of its own.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from pairedit.plan.keys import register
from pairedit.plan.wording import describe, on_its_lines
from pairedit.problems import ITEM
from pairedit.runs.resume import has_begun, resume_command
from pairedit.runs.stopping import Stopped, Stopping
from pairedit.sweeps import gpus, outcome

log = logging.getLogger(__name__)

Task = Callable[[DictConfig, Stopping], float | None]
# Raises ValueError on a configuration that cannot run: given that of Hydra and the job's folder.
Check = Callable[[DictConfig, Any, Path | None], object]
REQUEUES = "SUBMITIT_EXECUTOR"  # set where a signal can put the job back into a queue
OURS = ("SIGUSR1", "SIGUSR2")  # of Slurm, before a node or the time is taken away

_asked: list[int] = []  # a signal asked this worker to stop: its next jobs do not begin


class JobFailed(ValueError):
    """Say in words why a job failed; any process can read it."""


class JobStopped(JobFailed):
    """Say that a job was asked to stop, and did once it had saved."""


class Jobs:
    """Do the jobs of one command, and remember which failed."""

    def __init__(self, task: Task, full: bool, check: Check | None = None) -> None:
        """Take what does one job.

        Args:
            task: does it.
            full: its error is to be shown with a traceback.
            check: finds what is wrong with several, before the first begins.
        """
        self.check = check
        self._task, self._full, self._mode = task, full, RunMode.RUN
        self.stopping = Stopping()
        self.folder: Path | None = None  # of the run or sweep, once there is one
        self.failures: list[tuple[Path, str]] = []
        self.launch = ""  # names one start of the sweep
        self.tries = 1
        self.repeats = False  # a job may have been done before, as a search draws values again
        self.gpus: Sequence[str] = ()  # to divide among workers; others are told by their engine
        self._away = False

    def __getstate__(self) -> dict[str, Any]:
        """Leave at home what belongs to this process."""
        names = ("_task", "_full", "launch", "tries", "repeats", "gpus")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin in another process."""
        self.__init__(state["_task"], state["_full"])  # type: ignore[misc]
        self.launch, self.tries, self.gpus = state["launch"], state["tries"], state["gpus"]
        self.repeats = state["repeats"]
        self._away = True
        register()

    def several(self, folder: Path) -> None:
        """Take in that these are the jobs of a sweep, which may run elsewhere alone."""
        self.folder, self._mode = folder, RunMode.MULTIRUN

    def attempt(self, config: DictConfig) -> float | None:
        """Do one job; in a multirun the next ones still get their turn.

        Raises:
            JobFailed: of a multirun; the launcher collects them.
        """
        hydra = HydraConfig.get()
        self._mode = hydra.mode
        folder = Path(hydra.runtime.output_dir)
        if self._mode == RunMode.RUN:
            self.folder = folder
            self._alone(config, folder)
            return None
        self.folder = Path(hydra.sweep.dir)
        if not self._away:
            return self._one_of_many(config, folder)
        return self._elsewhere(config, folder, Path(hydra.runtime.cwd))

    def _alone(self, config: DictConfig, folder: Path) -> None:
        """Do the only job."""
        try:
            self._task(config, self.stopping)
        except Exception as error:
            if self._full:
                raise
            self.failures.append((folder, _told(error, folder)))

    def _one_of_many(self, config: DictConfig, folder: Path) -> float | None:
        """Do one job of a sweep, and note in its folder what became of it."""
        begun = outcome.begin(folder, self.launch)
        if begun.starts > self.tries:
            text = f"lost {begun.starts - 1} times (its process or its machine went away)"
            outcome.end(folder, begun, outcome.FAILED, text=text)
            raise JobFailed(text)
        if (begun.starts > 1 or self.repeats) and "resume" in config:
            config.resume = "auto"
        try:
            score = self._task(config, self.stopping)
        except Exception as error:
            text = _told(error, folder)
            log.error("failed: %s", on_its_lines(text), exc_info=self._full)
            outcome.end(folder, begun, outcome.FAILED, text=text)
            raise JobFailed(text) from None
        except Stopped as stopped:
            outcome.end(folder, begun, outcome.STOPPED, text=str(stopped))
            raise
        outcome.end(folder, begun, outcome.DONE, score=score)
        return score

    def _elsewhere(self, config: DictConfig, folder: Path, start: Path) -> float | None:
        """Do one job in a process that is a worker's."""
        if _asked:
            raise JobStopped(f"it did not begin, because {signal.Signals(_asked[0]).name} came")
        _settle(start, self.gpus)
        requeues = REQUEUES in os.environ
        self.stopping = Stopping(OURS if requeues else ())
        try:
            with self.stopping:
                return self._one_of_many(config, folder)
        except Stopped as stopped:
            log.warning("%s", stopped)
            if requeues:
                _queue_again(stopped.number)
            _asked.append(stopped.number)
            raise JobStopped(str(stopped)) from None

    def text(self) -> str:
        """Say what failed."""
        if self._mode == RunMode.RUN:
            return self.failures[0][1]
        count = len(self.failures)
        lines = "".join(f"{ITEM}{folder}: {text}" for folder, text in self.failures)
        return f"{count} {'job' if count == 1 else 'jobs'} failed:{lines}"


def _told(error: Exception, folder: Path) -> str:
    """Describe an error, and say how to go on where that may help."""
    text = describe(error)
    # What the user asked for would fail again; what the machine failed at may go on.
    if isinstance(error, OSError | MemoryError | RuntimeError) and has_begun(folder):
        text += f"; continue with: {resume_command(folder)}"
    return text


def _settle(start: Path, known: Sequence[str]) -> None:
    """Make a worker's process like the one that the sweep was started in."""
    if start.is_dir():
        os.chdir(start)
        if str(start) not in sys.path:
            sys.path.append(str(start))
    gpus.claim(known)
    if sys.stderr.isatty():
        # Bars of several trainings would draw over each other.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if REQUEUES not in os.environ:
        # Ctrl-C reaches every process of a terminal; the one that started them says who stops.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _: _asked.append(number))


def _queue_again(number: int) -> None:
    """Put this job back into the queue, unless whoever stopped it wants it gone.

    Never returns: a job that is to come again leaves no result.
    """
    from submitit import JobEnvironment

    environment = JobEnvironment()
    if number == signal.SIGTERM and not _runs(environment.job_id):
        sys.exit(128 + number)  # cancelled, or put back by Slurm itself
    with suppress(subprocess.SubprocessError):
        # submitit's own handler stands again by now.
        signal.raise_signal(environment._usr_sig())
    sys.exit(128 + number)


def _runs(job: str) -> bool:
    """Say whether Slurm still counts a job as running; what it is about to cancel it does not."""
    ask = ["squeue", "--noheader", f"--jobs={job}", "--format=%T"]
    with suppress(OSError):
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        return done.stdout.strip() == "RUNNING"
    return False

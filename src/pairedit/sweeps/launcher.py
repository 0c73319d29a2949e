"""Own how a sweep is run: its jobs composed, named, started on an engine, watched, and counted.

Whichever engine runs them, jobs that fail are named at the end and the others run; jobs that are
lost with their process are tried again and go on from their last checkpoint.
"""

from __future__ import annotations

import copy
import logging
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from pairedit.plan.wording import on_its_lines
from pairedit.runs import leftovers
from pairedit.runs.resume import SWEEP
from pairedit.sweeps import gpus, outcome
from pairedit.sweeps.composed import Composed, Planned
from pairedit.sweeps.naming import JOBS, Names
from pairedit.sweeps.search import scored, searches, take_up

log = logging.getLogger(__name__)

SHELF = ".jobs"  # configurations of jobs that are waiting


class SweepLauncher(Launcher):
    """Run the jobs of a sweep on an engine."""

    def __init__(self, engine: str, tries: int = 3, **keys: Any) -> None:
        """Take the keys of hydra.launcher.

        Args:
            engine: basic, joblib, ray or submitit.
            tries: how often a job is started at most, where its process was lost.
            keys: of the engine.
        """
        self._engine, self._tries, self._keys = engine, tries, keys

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take over what Hydra gives to a launcher; fix the sweep's folder."""
        from pairedit.sweeps.plugins import check_engine

        if not isinstance(hydra_context.config_loader, Composed):
            hydra_context.config_loader = Composed(hydra_context.config_loader)  # type: ignore[assignment]
        self._context, self._config = hydra_context, config
        self._jobs = task_function.__self__  # type: ignore[attr-defined]
        folder = Path(str(OmegaConf.select(config, "hydra.sweep.dir"))).absolute()
        with open_dict(config):
            config.hydra.sweep.dir = str(folder)
        self._folder = folder
        self._jobs.several(folder)
        self._searches = self._jobs.repeats = searches(config)
        check_engine(self._engine, {"tries": self._tries, **self._keys})
        for name in (SWEEP, JOBS):
            leftovers.keep(folder / name)
        if self._searches:
            self._check_usual()
            folder.mkdir(parents=True, exist_ok=True)
            take_up(config, folder)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs; the command says at its end which of them failed.

        Returns:
            What each returned; of one that failed an exception, or nothing where Hydra's own
            sweeper would stop at it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        loader = self._context.config_loader
        for words in job_overrides:  # before any is named: a word may be wrong
            loader.load_sweep_config(self._config, words)
        if not self._searches:
            returned = self._launch(self._name(job_overrides, initial_job_idx))
            if self._engine != "basic":
                # Their own messages are in files.
                log.info("all jobs have ended; their folders are in %s", self._folder)
            return returned
        # A search may draw the same values twice at once.
        once = list(dict.fromkeys(map(tuple, job_overrides)))
        found = dict(zip(once, self.run_planned(self._name(once, initial_job_idx)), strict=True))
        return [found[tuple(words)] for words in job_overrides]

    def _launch(self, planned: Sequence[Planned]) -> Sequence[JobReturn]:
        """Check jobs, then run those that can."""
        from pairedit.sweeps.checking import uneven_jobs, wrong_jobs
        from pairedit.sweeps.engines import failed

        loader, wrong = self._context.config_loader, {}
        if self._jobs.check and not self._jobs.launch:  # later it would end what has begun
            jobs = [(job, loader.load_sweep_config(self._config, job.overrides)) for job in planned]
            wrong = wrong_jobs(self._jobs.check, jobs, self._folder)
            if text := uneven_jobs([config for _, config in jobs]):
                log.info("%s", text)
        refused = {job.number: job for job in planned if job.number in wrong}
        for job in refused.values():
            log.error("%s is left out: %s", job.folder.name, on_its_lines(wrong[job.number]))
            outcome.refuse(job.folder, wrong[job.number])
        returned = iter(self.run_planned([job for job in planned if job.number not in wrong]))
        return [
            self._returned(job, failed(job, wrong[job.number]))
            if job.number in wrong
            else next(returned)
            for job in planned
        ]

    def _check_usual(self) -> None:
        """Refuse a search whose other values cannot be, whatever is drawn.

        Raises:
            ValueError: says what is wrong.
        """
        from pairedit.sweeps.checking import problem_of

        if self._jobs.check is None:
            return
        text = problem_of(self._jobs.check, copy.deepcopy(self._config), None)
        drawn = [str(key) for key in self._config.hydra.sweeper.get("params") or ()]
        if text and not any(re.search(rf"(?<![\w.]){re.escape(key)}=", text) for key in drawn):
            raise ValueError(text)

    def run_planned(self, planned: Sequence[Planned]) -> Sequence[JobReturn]:
        """Run jobs that have their folders; see `launch`."""
        setup_globals()
        HydraConfig.instance().set_config(self._config)
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        loader = self._context.config_loader
        configs = [loader.load_sweep_config(self._config, job.overrides) for job in planned]
        for job in planned:
            loader.settle(job, quiet=self._engine != "basic")
        found = self._run(planned, configs)
        return [self._returned(job, found[job.number]) for job in planned]

    def _name(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Planned]:
        """Give every job a folder of its own.

        Raises:
            ValueError: two of them are the same job.
        """
        names = Names(self._folder).of(job_overrides, searched=self._searches)
        return [
            Planned(number=first + place, overrides=tuple(words), folder=self._folder / name)
            for place, (words, name) in enumerate(zip(job_overrides, names, strict=True))
        ]

    def _run(
        self, planned: Sequence[Planned], configs: Sequence[DictConfig]
    ) -> Mapping[int, JobReturn | str]:
        """Run jobs on the engine; those that are lost again, as often as it takes or is allowed."""
        from pairedit.sweeps.engines import ENGINES, Site
        from pairedit.sweeps.resources import needs_of
        from pairedit.sweeps.watch import Watch

        needs = needs_of(configs)
        # Workers of this machine share its GPUs; a cluster tells its jobs which to take.
        here = self._engine == "joblib" or self._keys.get("executor") == "local"
        self._jobs.gpus = gpus.known() if here and needs.gpus else ()
        self._jobs.launch, self._jobs.tries = secrets.token_hex(4), self._tries
        quiet = self._engine == "basic" and sys.stderr.isatty()
        watch = Watch(planned, self._jobs.launch, quiet=quiet)
        site = Site(
            context=self._context,
            config=self._config,
            jobs=self._jobs,
            needs=needs,
            keys=_plain(self._keys),
            left=watch.left,
        )
        run = ENGINES[self._engine]
        found: dict[int, JobReturn | str] = {}
        left = list(planned)
        loader, shelf = self._context.config_loader, self._folder / SHELF
        if self._engine in ("joblib", "submitit"):
            loader.lay_out(shelf, planned)
        with watch:
            for turn in range(self._tries):
                found |= run(site, left)
                left = [job for job in left if isinstance(found[job.number], str)]
                if not left:
                    break
                if turn + 1 < self._tries:
                    names = ", ".join(job.folder.name for job in left)
                    log.warning("lost: %s; each goes on from its last checkpoint", names)
        # Not when stopped: jobs that wait in a cluster's queue still need theirs.
        loader.clear(shelf)
        return found

    def _returned(self, job: Planned, found: JobReturn | str) -> JobReturn:
        """Remember a failure; say of it what the sweeper can take."""
        if isinstance(found, str):
            lost = JobReturn(overrides=list(job.overrides))
            lost.status = JobStatus.FAILED
            lost.return_value = RuntimeError(f"lost {self._tries} times ({found})")
            found = lost
        if self._searches and found.status == JobStatus.COMPLETED:
            found = scored(found, self._config)
        if found.status == JobStatus.FAILED:
            error = found._return_value
            self._jobs.failures.append((job.folder, str(error)))
            if not self._searches:
                found.status, found.return_value = JobStatus.COMPLETED, None
        return found


def _plain(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Turn configuration into plain values."""
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in keys.items()
    }

"""Own the engines that jobs run on, each behind Hydra's plugin for it.

An engine runs jobs and says of each what came of it: Hydra's `JobReturn`, which holds a score or
an error, or a text where the job was lost with its process.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from pairedit.runs.resume import resume_command
from pairedit.runs.stopping import Stopped
from pairedit.sweeps import gpus, outcome
from pairedit.sweeps.composed import Planned
from pairedit.sweeps.jobs import Jobs
from pairedit.sweeps.plugins import plugin_class
from pairedit.sweeps.resources import Needs

log = logging.getLogger(__name__)

Found = dict[int, JobReturn | str]  # by the job's number

LOST_AFTER = 3  # looks at Slurm's queue that do not find a job which left no result
GENERAL = ("submitit_folder", "timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node")
GENERAL = (*GENERAL, "mem_gb", "nodes", "name", "stderr_to_stdout")  # known to every cluster
PAUSE = 2.0  # s between two of them


@dataclass(frozen=True, kw_only=True)
class Site:
    """Hold what every engine is given: Hydra's parts, the jobs' function, and what a job needs."""

    context: HydraContext
    config: DictConfig
    jobs: Jobs
    needs: Needs
    keys: Mapping[str, Any]  # of hydra.launcher
    left: Callable[[], str]  # says how long the rest of the sweep will take


def plugin(engine: str, site: Site, **keys: Any) -> Any:
    """Set up Hydra's launcher for an engine."""
    launcher = plugin_class(engine)(**keys)
    launcher.setup(hydra_context=site.context, task_function=site.jobs.attempt, config=site.config)
    return launcher


def run_here(site: Site, planned: Sequence[Planned]) -> Found:
    """Run jobs in this process, one after the other."""
    found: Found = {}
    for place, job in enumerate(planned, start=1):
        config = site.context.config_loader.load_sweep_config(site.config, job.overrides)
        _number(config, job)
        # The job before has sent the log to its own file.
        configure_log(site.config.hydra.hydra_logging, site.config.hydra.verbose)
        log.info("job %d of %d: %s%s", place, len(planned), job.folder.name, site.left())
        found[job.number] = run_job(
            hydra_context=site.context,
            task_function=site.jobs.attempt,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    return found


def run_joblib(site: Site, planned: Sequence[Planned]) -> Found:
    """Run jobs in processes of this machine: one for each GPU, or core where there is none."""
    most = len(site.jobs.gpus) or os.cpu_count() or 1
    asked = site.keys.get("n_jobs") or most
    workers = min(asked, most) if site.jobs.gpus else asked
    count = min(workers, len(planned))
    if workers == 1:
        gpus.claim(site.jobs.gpus[:1])  # the one that this process takes by itself
        return run_here(site, planned)
    keys = {key: value for key, value in site.keys.items() if value is not None}
    # joblib would run a single job in this process, which would then keep a GPU for itself.
    launcher = plugin("joblib", site, **{**keys, "n_jobs": max(count, 2)})
    # It would list every word of every job.
    logging.getLogger("hydra_plugins").setLevel(logging.WARNING)
    log.info("%d %s, %d at a time", len(planned), "job" if count == 1 else "jobs", count)
    try:
        with site.jobs.stopping.held(), _passed_on(site, planned):
            returns = launcher.launch([job.overrides for job in planned], planned[0].number)
    except BrokenProcessPool as error:
        # The death of one worker ends all of them; what each had done stands in its folder.
        return {job.number: _noted(job, site, type(error).__name__) for job in planned}
    return {job.number: found for job, found in zip(planned, returns, strict=True)}


@contextmanager
def _passed_on(site: Site, planned: Sequence[Planned]) -> Iterator[None]:
    """Pass a signal that asks this process to stop on to the workers, which save first."""
    ended, told = threading.Event(), set()

    def watch() -> None:
        while not ended.wait(PAUSE / 4):
            if site.jobs.stopping.pending is None:
                continue
            for job in planned:
                note = outcome.read(job.folder)
                mine = note and note.launch == site.jobs.launch and note.status == outcome.BEGUN
                if mine and job.number not in told:
                    told.add(job.number)
                    with suppress(ProcessLookupError):
                        os.kill(note.process, signal.SIGTERM)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run_ray(site: Site, planned: Sequence[Planned]) -> Found:
    """Run jobs on a Ray cluster: a local one, or one that is there."""
    launcher = plugin("ray", site, ray=OmegaConf.create(dict(site.keys["ray"])))
    import ray
    from hydra.core.singleton import Singleton
    from hydra_plugins.hydra_ray_launcher._launcher_util import launch_job_on_ray, start_ray

    start_ray(launcher.ray_cfg.init)
    remote = OmegaConf.merge(
        {"num_cpus": site.needs.cpus, "num_gpus": site.needs.gpus, "max_retries": site.jobs.tries},
        {key: value for key, value in launcher.ray_cfg.remote.items() if value is not None},
    )
    waiting: dict[Any, Planned] = {}
    try:
        for job in planned:
            config = site.context.config_loader.load_sweep_config(site.config, job.overrides)
            _number(config, job)
            one = launch_job_on_ray(
                site.context, remote, config, site.jobs.attempt, Singleton.get_state()
            )
            waiting[one] = job
        found: Found = {}
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=1.0)
            for one in done:
                job = waiting.pop(one)
                try:
                    found[job.number] = ray.get(one)
                except ray.exceptions.RayError as error:
                    found[job.number] = _noted(job, site, type(error).__name__)
        return found
    finally:
        for one in waiting:
            ray.cancel(one)
        ray.shutdown()


def run_submitit(site: Site, planned: Sequence[Planned]) -> Found:
    """Run jobs under Slurm, or as local processes that outlive this one."""
    keys = dict(site.keys)
    cluster = keys.pop("executor")
    for key, value in site.needs.for_slurm().items():
        if keys.get(key) is None:
            keys[key] = value
    if cluster == "local":
        keys = {key: value for key, value in keys.items() if key in GENERAL}
    launcher = plugin(cluster, site, **keys)
    import submitit
    from hydra.core.singleton import Singleton

    first = {"slurm_max_num_timeout": keys.pop("max_num_timeout")} if cluster == "slurm" else {}
    executor = submitit.AutoExecutor(folder=keys.pop("submitit_folder"), cluster=cluster, **first)
    executor.update_parameters(
        **{
            key if key in GENERAL else f"slurm_{key}": value
            for key, value in keys.items()
            if value is not None
        }
    )
    state = Singleton.get_state()
    rows = [(list(j.overrides), "hydra.sweep.dir", j.number, "", state) for j in planned]
    sent = executor.map_array(launcher, *zip(*rows, strict=True))
    running = dict(zip(sent, planned, strict=True))
    ids = " ".join(sorted({one.job_id.split("_")[0] for one in running}))
    place = f"in Slurm's queue as {ids}" if cluster == "slurm" else "side by side on this machine"
    log.info("%d jobs, %s", len(planned), place)
    try:
        return _wait(running, site, queued if cluster == "slurm" else None)
    except Stopped:
        if cluster == "slurm":
            log.warning("the jobs go on under Slurm; `scancel %s` ends them", ids)
        else:
            for one in running:
                one.cancel()
        raise


def _wait(running: dict[Any, Planned], site: Site, look: Callable[[], set[str]] | None) -> Found:
    """Wait for submitit's jobs; those that are gone without a result are lost."""
    found: Found = {}
    absent: dict[str, int] = {}
    while running:
        time.sleep(PAUSE)
        there = look() if look else None
        for one in list(running):
            if one.paths.result_pickle.exists():
                job = running.pop(one)
                error = one.exception()
                found[job.number] = (
                    one.result() if error is None else _noted(job, site, _last_line(error))
                )
                continue
            here = one.job_id in there if there is not None else not one.done()
            absent[one.job_id] = 0 if here else absent.get(one.job_id, 0) + 1
            if absent[one.job_id] > LOST_AFTER:
                job = running.pop(one)
                found[job.number] = _gone(job, site)
    return found


def _gone(job: Planned, site: Site) -> JobReturn | str:
    """Return what became of a job that Slurm no longer knows; only what was killed is lost."""
    note = outcome.read(job.folder)
    if note is None or note.launch != site.jobs.launch:
        return failed(job, "was taken from the queue before it began")
    if note.status == outcome.STOPPED:
        return failed(job, f"{note.text}; continue with: {resume_command(job.folder.parent)}")
    return _noted(job, site, "its process was killed")


def failed(job: Planned, text: str) -> JobReturn:
    """Return what a job returns that failed."""
    known = JobReturn(overrides=job.overrides)
    known.status, known.return_value = JobStatus.FAILED, RuntimeError(text)
    return known


def queued() -> set[str]:
    """List the jobs of this user that Slurm has in its queue, each task of an array apart."""
    done = subprocess.run(
        ["squeue", "--noheader", "--array", "--me", "--format", "%i"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def _noted(job: Planned, site: Site, why: str) -> JobReturn | str:
    """Return what a job has noted of its end, where it came that far; else why it is lost."""
    note = outcome.read(job.folder)
    if note is None or note.launch != site.jobs.launch:
        return why
    known = JobReturn(overrides=job.overrides)
    if note.status == outcome.DONE:
        known.status, known.return_value = JobStatus.COMPLETED, note.result
        return known
    if note.status == outcome.FAILED:
        return failed(job, note.text)
    return why


def _number(config: DictConfig, job: Planned) -> None:
    """Tell Hydra which job of the sweep this is."""
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = job.number


def _last_line(error: BaseException) -> str:
    """Return what submitit says at the end of a traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


ENGINES = {"basic": run_here, "joblib": run_joblib, "ray": run_ray, "submitit": run_submitit}

"""Own how the parts of one command run on a launcher, each as a job of its own.

A job's configuration is the command's, with the sliders of its part in place of the sweep, and
the part beside the keys.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from hydra.types import HydraContext, RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from pairedit.runs.stopping import Stopping
from pairedit.sweeps.composed import Planned
from pairedit.sweeps.jobs import Jobs, Task

if TYPE_CHECKING:
    from pairedit.jobs.apart import Part, Spread

PART = "part"
HERE = "basic"  # the engine that runs one job after the other in this process


def spread_with(config: DictConfig, task: Task, stopping: Stopping) -> Spread | None:
    """Return what runs the parts of this command on the launcher that it was given.

    Args:
        config: of the command, while its job runs.
        task: does a part, which `part_of` takes out of its configuration.
        stopping: of the command.

    Returns:
        None where they are to run here: no launcher was named, or it runs this job already.

    Raises:
        ValueError: a launcher was named, and there are no parts for it.
    """
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.RUN or hydra.launcher.get("engine", HERE) == HERE:
        return None
    if config.sweep.folder is None:
        engine = hydra.launcher.engine
        raise ValueError(f"hydra/launcher={engine}: runs the sliders of sweep=FOLDER side by side")

    def spread(parts: Mapping[str, Part], folder: Path) -> Mapping[str, str]:
        jobs = Jobs(task, full=False)
        jobs.stopping = stopping
        master = _master(config, hydra, folder)
        loader = _Parts(parts)
        launcher = instantiate(master.hydra.launcher)
        launcher.setup(
            hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks()),
            task_function=jobs.attempt,
            config=master,
        )
        planned = [
            Planned(number=number, overrides=(name,), folder=folder / name)
            for number, name in enumerate(parts)
        ]
        try:
            launcher.run_planned(planned)
        finally:
            # The launcher logs as a sweep does, without a file.
            HydraConfig.instance().set_config(OmegaConf.create({"hydra": hydra}))
            configure_log(hydra.job_logging, hydra.verbose)
        return {place.name: text for place, text in jobs.failures}

    return spread


def part_of(config: DictConfig) -> Mapping[str, Any]:
    """Take a job's part out of its configuration, which is then one of the command's."""
    with open_dict(config):
        return OmegaConf.to_container(config.pop(PART))  # type: ignore[return-value]


class _Parts:
    """Compose the configurations of parts, as Hydra's loader does those of a sweep's jobs."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts

    def load_sweep_config(self, master: DictConfig, words: Sequence[str]) -> DictConfig:
        """Return the configuration of the part that the only word names."""
        part = self._parts[words[0]]
        config = copy.deepcopy(master)
        OmegaConf.set_readonly(config.hydra, False)  # Hydra locks what it has taken in
        with open_dict(config):
            config.sweep.folder = None
            config.lora = list(part.loras)
            config[PART] = asdict(part)
        return config


def _master(config: DictConfig, hydra: DictConfig, folder: Path) -> DictConfig:
    """Put back together what Hydra takes apart when a job begins, as that of a sweep."""
    master = copy.deepcopy(config)
    with open_dict(master):
        master.hydra = copy.deepcopy(hydra)
        OmegaConf.set_readonly(master.hydra, False)
        master.hydra.mode = RunMode.MULTIRUN
        master.hydra.sweep.dir = str(folder)
    return master

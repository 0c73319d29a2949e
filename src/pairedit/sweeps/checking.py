"""Own what is wrong with the jobs of a sweep, found before the first of them starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from pairedit.plan.labels import uneven
from pairedit.plan.wording import describe
from pairedit.problems import ITEM, Problems
from pairedit.sweeps.composed import Planned
from pairedit.sweeps.jobs import Check

# What a check raises at a user's mistake; anything else is a mistake of ours.
MISTAKES = (ValueError, OSError, HydraException, OmegaConfBaseException)


def problem_of(check: Check, config: DictConfig, folder: Path | None) -> str | None:
    """Say what is wrong with one job's configuration, which holds Hydra's too.

    What a plan logs is left to the job.
    """
    config = config.copy()
    with open_dict(config):
        hydra = config.pop("hydra")
    before = logging.root.manager.disable
    logging.disable()
    try:
        check(config, hydra, folder)
    except MISTAKES as error:
        return describe(error)
    finally:
        logging.disable(before)
    return None


def wrong_jobs(
    check: Check, jobs: Sequence[tuple[Planned, DictConfig]], sweep: Path
) -> dict[int, str]:
    """Check all jobs of a sweep.

    Args:
        check: of the command.
        jobs: with their configurations.
        sweep: its folder.

    Returns:
        What is wrong with some of them, by number.

    Raises:
        ValueError: none of them can run. What is wrong with all alike is said once.
    """
    found = [problem_of(check, config, job.folder) for job, config in jobs]
    if None in found:
        numbered = zip((job.number for job, _ in jobs), found, strict=True)
        return {number: text for number, text in numbered if text is not None}
    # Jobs whose folders hold something say the same, each of its own.
    alike = [t.replace(str(j.folder), str(sweep)) for (j, _), t in zip(jobs, found, strict=True)]
    if len(set(alike)) == 1:
        raise ValueError(alike[0])
    lines = [text.split(ITEM)[1:] or [text] for text in found]
    shared = [line for line in lines[0] if all(line in others for others in lines)]
    single = [
        f"{job.folder.name}: {line}"
        for (job, _), own in zip(jobs, lines, strict=True)
        for line in own
        if line not in shared
    ]
    raise ValueError(Problems([*shared, *single]).text(of="the sweep"))


def uneven_jobs(configs: Sequence[DictConfig]) -> str | None:
    """Say that the methods of a sweep have different steps, as each has its own by default."""
    return uneven(
        (str(config.hydra.runtime.choices.get("method")), config.steps)
        for config in configs
        if "steps" in config
    )

"""Own what a search by Optuna needs beside its plugin: a study that goes on after a kill.

The study stands in the sweep's folder. Trials that were at work when everything was killed are
put in line again with the same values, so that their trainings go on from their checkpoints.
"""

from __future__ import annotations

import logging
import math
import re
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from pairedit.files import read_yaml
from pairedit.runs.resume import RESUME, SWEEP
from pairedit.runs.words import key_of, quoted

log = logging.getLogger(__name__)

STUDY = "study.db"
TRIALS = "hydra.sweeper.n_trials="
PARAMS, DIRECTION = "hydra.sweeper.params.", "hydra.sweeper.direction="
PLAIN = ".BasicSweeper"


def searches(config: DictConfig) -> bool:
    """Say whether the values of a sweep's jobs come from a search."""
    return not str(config.hydra.sweeper["_target_"]).endswith(PLAIN)


def go_on(words: Sequence[str]) -> list[str]:
    """Let a search that is resumed do the trials that are left, unless it is told how many.

    It goes over the same values, also where they came from the command line.
    """
    place = [w.partition("=")[2].strip("'\"") for w in words if w.startswith("hydra.sweep.dir=")]
    resumes = any(word.startswith(RESUME) for word in words)
    if not place or not resumes or any(word.startswith(TRIALS) for word in words):
        return list(words)
    folder = Path(place[-1])
    left = trials_left(folder)
    if left is None:
        return list(words)
    given = {key_of(word) for word in words}
    kept = [word for word in _space(folder) if key_of(word) not in given]
    return [*words, *kept, f"{TRIALS}{left}"]


def _space(folder: Path) -> list[str]:
    """Return the words for what a search went over, and which way, as far as words can say it.

    A key with a dot in it is one of the file's, where the search finds it again.
    """
    sweeper = read_yaml(folder / SWEEP, dict)["hydra"]["sweeper"]
    params = sweeper.get("params") or {}
    plain = {k: v for k, v in params.items() if re.fullmatch(r"[a-z]\w*", k) and k != "hydra"}
    words = [f"{PARAMS}{key}={quoted(value)}" for key, value in plain.items()]
    return [*words, f"{DIRECTION}{'maximize' if _highest(sweeper) else 'minimize'}"]


def trials_left(folder: Path) -> int | None:
    """Count the trials that a search has still to do; None where there is none."""
    path = folder / STUDY
    if not path.is_file():
        return None
    total = read_yaml(folder / SWEEP, dict)["hydra"]["sweeper"]["n_trials"]
    with closing(sqlite3.connect(path)) as study:
        rows = study.execute("select count(*) from trials where state in ('COMPLETE', 'FAIL')")
        (done,) = rows.fetchone()
        # Put in line again by `take_up`, where these count once more.
        (broken,) = study.execute(
            "select count(*) from trials where state = 'FAIL' and trial_id in "
            "(select trial_id from trial_user_attributes where key = 'again')"
        ).fetchone()
    return max(0, total - done + broken)


def take_up(config: DictConfig, folder: Path) -> None:
    """Note how a search was started; put in line what is to be tried first.

    Of a new search that is the default; of one that goes on, trials that were cut off.
    """
    if not (folder / SWEEP).is_file():
        # Hydra's own sweeper writes this; `resume` starts from it.
        OmegaConf.save(config, folder / SWEEP)
    import optuna

    if not (folder / STUDY).is_file():
        _begin(config)
        return

    study = optuna.load_study(
        study_name=config.hydra.sweeper.study_name, storage=config.hydra.sweeper.storage
    )
    cut = [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]
    for trial in cut:
        study._storage.set_trial_user_attr(trial._trial_id, "again", True)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        _enqueue(study, trial.params)
    log.info(
        "the search goes on: %d trials are done, %d that were cut off come first",
        sum(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials),
        len(cut),
    )


def _begin(config: DictConfig) -> None:
    """Make a study whose first trial is the default, as far as the search is over its values."""
    import optuna
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    sweeper = config.hydra.sweeper
    if not sweeper.get("params") or not sweeper.get("storage"):
        return
    searched, _ = create_params_from_overrides([f"{k}={v}" for k, v in sweeper.params.items()])
    usual = {}
    for name, distribution in searched.items():
        value = OmegaConf.select(config, name)
        with suppress(ValueError, TypeError):
            if distribution._contains(distribution.to_internal_repr(value)):
                usual[name] = value
    study = optuna.create_study(
        study_name=sweeper.study_name,
        storage=sweeper.storage,
        direction="maximize" if _highest(sweeper) else "minimize",
    )
    _enqueue(study, usual)


def _enqueue(study: Any, params: Mapping[str, Any]) -> None:
    """Put a trial in line; Optuna 2 warns that this is new."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.enqueue_trial(dict(params))


def scored(found: JobReturn, config: DictConfig) -> JobReturn:
    """Return what a search can take of a job that ended well.

    A slider that does not get as far as its measure needs is as bad as can be; one that was not
    measured at all is a failure.
    """
    value = found.return_value
    if value is None:
        found.status = JobStatus.FAILED
        found.return_value = ValueError(
            "score=: the closing report does not hold this measure; it needs report=true, and "
            "pairs that a probe reads"
        )
    elif math.isnan(value):
        found.return_value = -math.inf if _highest(config.hydra.sweeper) else math.inf
    return found


def _highest(sweeper: Any) -> bool:
    """Say whether a search is for the highest score."""
    direction = sweeper.get("direction")
    return str(getattr(direction, "name", direction)) == "maximize"

"""Own the plan of each command with the check that it can work in its folder.

Each is a `sweeps.jobs.Check`: it takes a composed configuration; that of Hydra, where there is one;
and the folder, where it is known. It raises ValueError, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig

from pairedit.plan.eval import EvalPlan, plan_eval
from pairedit.plan.export import plan_export
from pairedit.plan.gen import GenPlan, plan_gen
from pairedit.plan.studio import plan_studio
from pairedit.plan.train import TrainPlan, plan_train
from pairedit.runs.folder import check_begin, check_free

Plan = TypeVar("Plan")


def training(config: DictConfig, hydra: Any = None, folder: Path | None = None) -> TrainPlan:
    """Plan a training, whose method has the name that it was chosen by."""
    name = hydra.runtime.choices.get("method", "?") if hydra else "?"
    plan = plan_train(config, method_name=name)
    if folder:
        check_free(folder, plan.resolved)
        check_begin(folder, names=plan.pairs, resolved=plan.resolved, resume=plan.resume)
    return plan


def _planned_by(plan: Callable[[DictConfig], Plan]) -> Callable[..., Plan]:
    """Make the check of a command whose plan takes its configuration alone."""

    def check(config: DictConfig, _: Any = None, folder: Path | None = None) -> Plan:
        found = plan(config)
        # The others write where their keys say.
        if folder and isinstance(found, GenPlan | EvalPlan):
            check_free(folder, found.resolved)
        return found

    return check


rendering, evaluation = _planned_by(plan_gen), _planned_by(plan_eval)
export, studio = _planned_by(plan_export), _planned_by(plan_studio)

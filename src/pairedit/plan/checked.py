"""Own the plan of each command with the check that it can work in its folder.

Each takes a composed configuration; that of Hydra, where there is one; and the folder, where it is
known. It raises ValueError, and changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pairedit.plan.eval import EvalPlan, plan_eval
from pairedit.plan.export import ExportPlan, plan_export
from pairedit.plan.gen import GenPlan, plan_gen
from pairedit.plan.studio import StudioPlan, plan_studio
from pairedit.plan.train import TrainPlan, plan_train
from pairedit.runs.folder import check_begin, check_free


def training(config: DictConfig, hydra: Any = None, folder: Path | None = None) -> TrainPlan:
    """Plan a training."""
    name = hydra.runtime.choices.get("method", "?") if hydra else "?"
    plan = plan_train(config, method_name=name)
    if folder:
        check_free(folder, plan.resolved)
        check_begin(folder, names=plan.pairs, resolved=plan.resolved, resume=plan.resume)
    return plan


def rendering(config: DictConfig, hydra: Any = None, folder: Path | None = None) -> GenPlan:
    """Plan a rendering."""
    plan = plan_gen(config)
    if folder:
        check_free(folder, plan.resolved)
    return plan


def evaluation(config: DictConfig, hydra: Any = None, folder: Path | None = None) -> EvalPlan:
    """Plan an evaluation."""
    plan = plan_eval(config)
    if folder:
        check_free(folder, plan.resolved)
    return plan


def export(config: DictConfig, hydra: Any = None, folder: Path | None = None) -> ExportPlan:
    """Plan an export, which names its own file."""
    return plan_export(config)


def studio(config: DictConfig, hydra: Any = None, folder: Path | None = None) -> StudioPlan:
    """Plan a studio."""
    return plan_studio(config)

"""Train one slider of the benchmark and measure it in several uses, on unseen seeds."""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from edits.jobs import Job, note, results
from pairedit.files import locate
from pairedit.jobs.opening import open_model
from pairedit.jobs.train import run_training
from pairedit.lora.file import read_lora
from pairedit.machine.hardware import Hardware
from pairedit.measure import measures
from pairedit.measure.choice import by_pairs, by_trial
from pairedit.measure.effect import effect, worth
from pairedit.measure.evaluate import Result, Setting, evaluate
from pairedit.measure.evidence import Evidence
from pairedit.measure.intervals import at, crossing
from pairedit.measure.readers import AttributeProbe
from pairedit.measure.subject import Subject
from pairedit.plan.options import composed
from pairedit.plan.train import TrainPlan, plan_train
from pairedit.settings import Use

SCALES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3)
FIRST_SEED = 7000
MATCHED = 0.4  # the gain at which sliders are compared
FLOOR = "floor"
ALONE = 1  # the pair that a single one is: that of dataset=one
FIGURES = {
    "reach": measures.best_share,
    "linearity": measures.linearity,
    "monotonicity": measures.monotonicity,
    "frontier": measures.frontier,
    "one pair at": measures.calibration,
}
CALIBRATED = 12  # seeds, as many as pairedit-eval takes
MISSES = {f"misses by, {seeds} seeds": seeds for seeds in (CALIBRATED, 32)}
SPLITS = 200


def do(job: Job, args: argparse.Namespace, deadline: float) -> None:
    """Train and measure one job, as far as that has not been done."""
    folder = args.work / job.name
    known = results(folder)
    left = [use for use in args.uses if use not in known]
    if not left:
        return
    plan = plan_of(job, args)
    started = time.time()
    (path,) = run_training(plan, folder).values()
    if "seconds" not in known:
        note(folder, {"seconds": round(time.time() - started, 1)})
    if time.time() < deadline:
        note(folder, measure(job, left, path, plan, args.seeds))


def plan_of(job: Job, args: argparse.Namespace) -> TrainPlan:
    """Plan a training as pairedit-train does, on one of the pairs where that is asked for."""
    keys = {"steps": job.steps, "seed": job.seed, "device": args.device, "resume": "auto"}
    keys |= {"save_every": 0, "preview": False, "report": False}
    plan = plan_train(
        composed("train", {"method": job.method, "dataset": job.edit}, keys),
        method_name=job.method,
    )
    pairs = plan.pairs[job.edit]
    fast = args.fast and args.device != "cpu" and torch.cuda.is_available()
    return replace(
        plan,
        pairs={job.edit: pairs[ALONE : ALONE + 1] if job.pairs == 1 else pairs},
        hardware=Hardware(fused=fast, graphs=fast, precision=job.precision),
        changes={"batch_size": args.rows},
    )


def measure(
    job: Job, uses: Sequence[str], path: Path, plan: TrainPlan, seeds: int
) -> dict[str, dict]:
    """Measure one slider in several uses."""
    model, size = plan.model, plan.preview_at.size
    base = open_model(model, device=plan.device, hardware=plan.hardware, changes=plan.changes)
    readers = {"probe": AttributeProbe().open(model=locate(model.path), size=size, device="cpu")}
    lora = read_lora(path)
    setting = Setting(
        prompts=[model.prompt],
        seeds=range(FIRST_SEED, FIRST_SEED + seeds),
        rendering=plan.preview_at,
    )
    slider = Subject(
        path=path,
        label=job.name,
        dataset=job.edit,
        pairs=plan.pairs[job.edit],
        attribute=job.edit,
        skip=plan.preview_at.skip,
    )
    asked = {"plain": Use(), "local": Use(local=True)}
    if {"chosen", "whole"} & {*uses}:
        first = by_pairs(base, slider.pairs, size)
        choice = by_trial(base, slider, lora, first=first, setting=setting, readers=readers)
        asked |= {"chosen": choice.use, "whole": replace(choice.use, local=False)}
    found = evaluate(
        base,
        [replace(slider.used(asked[use]), label=use) for use in uses],
        {path: lora},
        scales=SCALES,
        setting=setting,
        readers=readers,
        missing={},
    )
    return {
        result.subject.label: figures(result) | {"use": str(asked[result.subject.label])}
        for result in found
    }


def figures(result: Result) -> dict:
    """Read off one use of one slider; None where it does not get that far."""
    target, off = (result.summaries[each].mean for each in (measures.target, measures.off_target))
    found = {"off-target": at(SCALES, off, crossing(SCALES, target, MATCHED))}
    found |= {name: result.summaries[each].mean.nanmean() for name, each in FIGURES.items()}
    # What a perfect edit is read to move, where sliders are compared by their gain.
    compared = result.seen.match * abs(worth(result.seen) or math.nan)
    found[FLOOR] = result.summaries[measures.floor].mean * MATCHED / compared
    found["calibrated"] = calibrated(result.seen)
    found |= {name: misses(result.seen, seeds) for name, seeds in MISSES.items()}
    plain = {
        name: round(value, 4) if value == value else None
        for name, value in ((name, float(value)) for name, value in found.items())
    }
    return plain | {"target": target.tolist(), "off": off.tolist()}


def calibrated(seen: Evidence) -> float:
    """Return the effect on most seeds at the scale that the others find to be worth one pair."""
    return _carried(seen, torch.arange(len(seen.distance)), CALIBRATED)


def misses(seen: Evidence, seeds: int) -> float:
    """Return how far from one pair's worth calibrated sliders land: root mean square.

    Over random splits of the seeds: which ones calibrate is chance, and a single split shows it.
    """
    count = len(seen.distance)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(count, generator=generator) for _ in range(SPLITS)]
    if count <= seeds:
        return math.nan
    landed = torch.tensor([_carried(seen, order, seeds) for order in orders])
    # Where few seeds do not get to one pair's worth there is no scale to land at.
    known = landed[~landed.isnan()]
    return float((known - 1).square().mean().sqrt()) if len(known) > SPLITS / 2 else math.nan


def _carried(seen: Evidence, order: Tensor, seeds: int) -> float:
    """Return the effect on the later lanes at the scale that the first ones find."""
    few, most = (effect(seen.pick(part)).mean(0) for part in (order[:seeds], order[seeds:]))
    return float(at(SCALES, most, crossing(SCALES, few, 1.0)))

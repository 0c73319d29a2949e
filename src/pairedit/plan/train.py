"""Own the plan of a training.

Everything that can be checked without loading a weight (or torch) is checked here; all problems
are collected in one ValueError, and plain values come out. No configuration goes further.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.bases.base import Model
from pairedit.data.examples import Contrast, Example, Pair, Single
from pairedit.data.sets import Examples
from pairedit.lora.targets import match_targets
from pairedit.machine.hardware import Hardware
from pairedit.methods import Method
from pairedit.plan.build import build
from pairedit.plan.keys import LoraConfig, TrainConfig
from pairedit.plan.model import (
    LARGEST,
    _block_counts,
    _check_steps,
    _hardware,
    _model,
    check_keys,
    names_of,
)
from pairedit.plan.parse import check_seed
from pairedit.problems import Problems
from pairedit.runs.tracking import Tracker

# What a method learns from, and datasets that hold it.
KINDS = {
    Pair: ("image pairs", "dataset=age, or dataset=folder with pairs=/path"),
    Single: ("single images", "dataset=real, or dataset=images with images=/path"),
    Contrast: ("prompts", "dataset=text_age, or dataset=text"),
}

SAVE_EVERY = 100  # steps; a minute or less of training on a GPU


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """Hold one checked training job."""

    method: Method
    pairs: Mapping[str, Sequence[Example]]  # by dataset name, single images by file stem
    model: Model
    tracker: Tracker
    settings: Mapping[str, Any]  # arguments of `train.Settings`
    preview: bool
    report: bool
    device: str
    hardware: Hardware
    changes: Mapping[str, Any]  # fields of the hardware set apart from it
    method_name: str
    resume: bool  # go on with what is in the folder
    resolved: Mapping[str, Any]  # the whole configuration without resume, JSON values
    notes: Sequence[str]  # what the user should know, such as options without effect


def plan_train(config: DictConfig, *, method_name: str) -> TrainPlan:
    """Check a composed `TrainConfig` and build its parts.

    Args:
        config: the composed configuration.
        method_name: the option that was chosen for `method`.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    check_keys(config, TrainConfig, problems)
    check_keys(config.lora, LoraConfig, problems, "lora.")
    raw = OmegaConf.to_container(config, resolve=False)
    method = problems.attempt(lambda: build(config.method, "method", Method))
    tracker = problems.attempt(lambda: build(config.tracker, "tracker", Tracker))
    model = _model(config, problems)
    pairs = _examples(config, method, method_name, problems)
    steps = config.num_inference_steps
    last = steps - 1 if config.end_step is None else config.end_step
    _check_steps(config, problems)
    problems.expect(
        0 <= config.start_step <= last < steps,
        f"start_step={config.start_step}, end_step={last}: expected 0 <= start_step <= end_step "
        f"< num_inference_steps={steps}",
    )
    save_every = config.save_every
    if save_every is None:
        save_every = min(SAVE_EVERY, max(config.steps, 0))
    problems.expect(config.steps >= 1, f"steps={config.steps}: expected at least 1")
    problems.expect(
        0 <= save_every <= max(config.steps, 0),
        f"save_every={save_every}: expected 0 (no checkpoints) to steps={config.steps}",
    )
    problems.expect(
        config.resume in (None, "auto"),
        f"resume={config.resume}: expected one run's folder, or auto",
    )
    problems.expect(
        save_every > 0 or not config.snapshots, "snapshots=true: without effect, save_every is 0"
    )
    for key, value in (
        ("noise_scale", config.noise_scale),
        ("learning_rate", config.learning_rate),
        ("lora.alpha", config.lora.alpha),
    ):
        problems.expect(
            # Beyond, AdamW's own arithmetic overflows.
            0 < value <= 1e30,
            f"{key}={value}: expected a number above 0 and at most 1e30",
        )
    problems.expect(math.isfinite(config.cfg_eta), f"cfg_eta={config.cfg_eta}: expected a number")
    problems.expect(
        1 <= config.lora.rank <= LARGEST,
        f"lora.rank={config.lora.rank}: expected at least 1 and at most {LARGEST}",
    )
    check_seed("seed", config.seed, problems)
    problems.expect(
        config.latents in ("mode", "sample"),
        f"latents={config.latents}: expected mode or sample",
    )
    targets = problems.attempt(lambda: _targets(config.lora.targets, model))
    hardware, changes = _hardware(config, problems)
    problems.done()
    notes = [
        f"method={method_name} does not use {key}={config[key]}"
        for key, default in (("cfg_eta", 4.0), ("noise_scale", 1.0))
        if config[key] != default and f"${{{key}}}" not in json.dumps(raw["method"])
    ]
    resolved = OmegaConf.to_container(config, resolve=True)
    # A run that was interrupted is to end with the same bytes, its notes included.
    del resolved["resume"]
    return TrainPlan(
        method=method,
        pairs=pairs,
        model=model,
        tracker=tracker,
        settings={
            "steps": config.steps,
            "learning_rate": config.learning_rate,
            "rank": config.lora.rank,
            "alpha": config.lora.alpha,
            "targets": targets,
            "resolution": config.resolution,
            "num_inference_steps": steps,
            "start_step": config.start_step,
            "end_step": last,
            "guidance_scale": config.guidance_scale,
            "seed": config.seed,
            "save_every": save_every,
            "snapshots": config.snapshots,
            "latents": config.latents,
        },
        preview=config.preview,
        report=config.report,
        device=config.device,
        hardware=hardware,
        changes=changes,
        method_name=method_name,
        resume=config.resume is not None,
        resolved=resolved,
        notes=notes,
    )


def _examples(
    config: DictConfig, method: Method | None, method_name: str, problems: Problems
) -> dict[str, Sequence[Example]]:
    """Build the dataset group and read what it names, as far as the method can learn from it."""
    found: dict[str, Sequence[Example]] = {}
    problems.expect(len(config.datasets) > 0, "dataset=[]: expected at least one dataset")
    used = set()
    for key in config.datasets:
        raw = OmegaConf.to_container(config.datasets[key], resolve=False)
        values = raw.values() if isinstance(raw, Mapping) else ()
        used |= {name for name in ("pairs", "images", "image_ids") if f"${{{name}}}" in values}
        if "${pairs}" in values and config.pairs is None:
            problems.append(
                "dataset=folder: needs pairs=/path to a folder that holds source/ and target/"
            )
            continue
        if "${images}" in values and config.images is None:
            problems.append("dataset=images: needs images=/path to a folder of photographs")
            continue
        dataset = problems.attempt(
            lambda key=key: build(config.datasets[key], f"datasets.{key}", Examples)
        )
        if dataset is None:
            continue
        if method and dataset.holds is not method.learns_from:
            needed, options = KINDS[method.learns_from]
            problems.append(
                f"method={method_name}: learns from {needed}, but dataset {key} holds "
                f"{KINDS[dataset.holds][0]}; expected {options}"
            )
            continue
        for name, examples in (problems.attempt(dataset.read) or {}).items():
            problems.expect(name not in found, f"dataset: two of them are named {name}")
            problems.expect(
                re.fullmatch(r"[^/\\]+", name) is not None and name not in (".", ".."),
                f"dataset: {name!r} cannot name a folder",
            )
            found[name] = examples
    for name, option in (("pairs", "folder"), ("images", "images"), ("image_ids", "real")):
        if config[name] is not None and name not in used:
            problems.append(f"{name}={config[name]}: without effect, add dataset={option}")
    return found


def _targets(targets: Any, model: Model | None) -> str | tuple[str, ...]:
    """Read `lora.targets`, a name or a list of patterns, and try it on the model's modules."""
    if OmegaConf.is_list(targets) and targets:
        targets = tuple(targets)
    elif not isinstance(targets, str):
        raise ValueError(f"lora.targets={targets}: expected a name or a list of patterns")
    names = names_of(model)
    match_targets(names.modules(_block_counts(model)), targets, names)
    return targets

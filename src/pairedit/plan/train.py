"""Own the plan of a training.

Everything that can be checked without loading a weight (or torch) is checked here; all problems
are collected in one ValueError, and plain values come out. No configuration goes further.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.data.examples import Contrast, Example, NoSides, Pair, Single
from pairedit.data.sets import Examples
from pairedit.data.shapes import Sizing, usual
from pairedit.lora.targets import match_targets
from pairedit.methods import Method
from pairedit.plan.build import build, keys_in
from pairedit.plan.keys import LoraKeys, TrainConfig
from pairedit.plan.model import (
    SQUARE,
    Plan,
    build_hardware,
    build_model,
    check_keys,
    sizing_of,
    trained_by,
    usual_skip,
)
from pairedit.plan.pairs import pairs_folder
from pairedit.plan.scores import check_score
from pairedit.plan.starting import find_starts
from pairedit.problems import Held, Problems
from pairedit.runs.tracking import Tracker
from pairedit.settings import Rendering, Training

# What a method learns from, and datasets that hold it.
KINDS = {
    Pair: ("image pairs", "dataset=age, or dataset=folder with pairs=/path"),
    Single: ("single images", "dataset=real, or dataset=images with images=/path"),
    Contrast: ("prompts", "dataset=text_age, or dataset=text"),
}

# Keys of `Training`'s fields, where they are called otherwise.
NAMES = {"rank": "lora.rank", "alpha": "lora.alpha", "targets": "lora.targets"}
SAVE_EVERY = 100  # steps; a minute or less of training on a GPU


@dataclass(frozen=True, kw_only=True)
class TrainPlan(Plan):
    """Hold one checked training job."""

    method: Method
    pairs: Mapping[str, Sequence[Example]]  # by dataset name, single images by file stem
    tracker: Tracker
    training: Training
    stop: bool  # where a quick measure no longer rises
    preview_at: Rendering  # of the preview and the report
    preview: bool
    init: Mapping[str, Mapping[str, Path]]  # what LoRAs start from, by dataset and role
    preview_every: int  # steps between rows that are rendered meanwhile; 0: none unasked
    report: bool
    scored: bool  # a search compares it with others: all read the same seeds
    method_name: str
    resume: bool  # go on with what is in the folder


def plan_train(config: DictConfig, *, method_name: str) -> TrainPlan:
    """Check a composed `TrainConfig` and build its parts.

    Args:
        config: the composed configuration.
        method_name: the option that was chosen for `method`.

    Raises:
        ValueError: lists every problem.
    """
    with Held("pairedit.data"):
        return _plan(config, method_name)


def _plan(config: DictConfig, method_name: str) -> TrainPlan:
    """Check everything; see `plan_train`."""
    problems = Problems()
    check_keys(config, TrainConfig, problems)
    check_keys(config.lora, LoraKeys, problems, "lora.")
    raw = OmegaConf.to_container(config, resolve=False)
    method = problems.attempt(lambda: build(config.method, "method", Method))
    tracker = problems.attempt(lambda: build(config.tracker, "tracker", Tracker))
    model = build_model(config, problems)
    problems.expect(
        model is None or model.train_on is None,
        f"model={model and model.name}: is for rendering; "
        f"train on model={model and model.train_on}",
    )
    pairs = _examples(config, method, method_name, problems)
    problems.expect(
        config.resume in (None, "auto"),
        f"resume={config.resume}: expected one run's folder, or auto",
    )
    problems.expect(config.stop in (None, "auto"), f"stop={config.stop}: expected auto, or null")
    problems.attempt(lambda: check_score(config.score))
    notes: list[str] = []
    init = {name: {} for name in pairs}
    if config.init is not None and method and pairs:
        roles = method.roles
        init = problems.attempt(lambda: find_starts(config.init, pairs, roles, model, notes))
    problems.expect(
        config.steps != 0 or config.init is not None,
        "steps=0: expected at least 1; with init= also 0, which trains nothing",
    )
    targets = problems.attempt(lambda: _targets(config.lora.targets, model), NAMES)
    sizing = problems.attempt(lambda: sizing_of(config, model)) or SQUARE
    training = problems.attempt(lambda: _training(config, targets, sizing), NAMES)
    problems.expect(
        training is None or training.save_every > 0 or not config.snapshots,
        "snapshots=true: has no effect; save_every is 0",
    )
    problems.expect(
        config.preview_every >= 0,
        f"preview_every={config.preview_every}: expected a number of steps, or 0 for none",
    )
    hardware, changes = build_hardware(config, problems)
    problems.done()
    changes = trained_by(hardware, changes, training, pairs)
    notes += _unused(config, json.dumps(raw["method"]), method_name)
    return TrainPlan(
        method=method,
        pairs=pairs,
        model=model,
        tracker=tracker,
        training=training,
        stop=config.stop is not None,
        preview_at=Rendering(
            skip=usual_skip(model, training.num_inference_steps),
            num_inference_steps=training.num_inference_steps,
            guidance_scale=training.guidance_scale,
            size=usual(training.size),
        ),
        preview=config.preview,
        init=init,
        preview_every=config.preview_every,
        report=config.report,
        scored=config.score is not None,
        device=config.device,
        hardware=hardware,
        changes=changes,
        method_name=method_name,
        resume=config.resume is not None,
        resolved=_resolved(config),
        notes=notes,
    )


def _unused(config: DictConfig, method: str, name: str) -> list[str]:
    """Name the keys that were set although the method, as its config is written, reads none."""
    return [
        f"method={name} does not use {key}={config[key]}"
        for key, default in (("cfg_eta", 4.0), ("noise_scale", 1.0))
        if config[key] != default and f"${{{key}}}" not in method
    ]


def _resolved(config: DictConfig) -> dict[str, Any]:
    """Return what files note of a configuration, as JSON values."""
    resolved = OmegaConf.to_container(config, resolve=True)
    # A run that was interrupted, or looked at, is to end with the same bytes, notes included.
    del resolved["resume"], resolved["preview_every"]
    # What came later is noted where it is used.
    later = {"init": None, "stop": None, "score": None}
    return {k: v for k, v in resolved.items() if k not in later or v != later[k]}


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
        if "${pairs}" in values and not problems.attempt(lambda: pairs_folder(config.pairs)):
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
        names = keys_in(raw, f"datasets.{key}")
        read = problems.attempt(lambda found=dataset, names=names: _read(found, names), names)
        for name, examples in (read or {}).items():
            problems.expect(name not in found, f"dataset: two datasets have the name {name}")
            problems.expect(
                re.fullmatch(r"[^/\\]+", name) is not None and name not in (".", ".."),
                f"dataset: {name!r} cannot name a folder",
            )
            found[name] = examples
    for name, option in (("pairs", "folder"), ("images", "images"), ("image_ids", "real")):
        if config[name] is not None and name not in used:
            others = list(config.datasets)
            instead = f"say dataset={option} instead of dataset={', '.join(others)}"
            what = instead if len(others) == 1 else f"add dataset={option}"
            problems.append(f"{name}={config[name]}: has no effect; {what}")
    return found


def _read(dataset: Examples, names: Mapping[str, str]) -> Mapping[str, Sequence[Example]]:
    """List the examples of a dataset; see `Examples.read`.

    Args:
        dataset: to read.
        names: the keys that its fields come from.
    """
    try:
        return dataset.read()
    except NoSides as error:
        if not {"source", "target"} <= set(names):
            raise
        say = f"for folders of other names say {names['source']}=.. {names['target']}=.."
        raise ValueError(f"{error}; {say}") from error


def _training(
    config: DictConfig, targets: str | tuple[str, ...] | None, sizing: Sizing
) -> Training:
    """Gather the numbers of the run.

    Raises:
        Invalid: names every one that cannot be.
    """
    save_every, last = config.save_every, config.end_step
    return Training(
        steps=config.steps,
        learning_rate=config.learning_rate,
        rank=config.lora.rank,
        alpha=config.lora.alpha,
        targets=targets or (),
        size=sizing,
        num_inference_steps=config.num_inference_steps,
        start_step=config.start_step,
        end_step=config.num_inference_steps - 1 if last is None else last,
        guidance_scale=config.guidance_scale,
        seed=config.seed,
        save_every=min(SAVE_EVERY, max(config.steps, 0)) if save_every is None else save_every,
        snapshots=config.snapshots,
        latents=config.latents,
    )


def _targets(targets: Any, model: Any) -> str | tuple[str, ...]:
    """Read `lora.targets`, a name or a list of patterns, and try it on the model's modules."""
    if OmegaConf.is_list(targets) and targets:
        targets = tuple(targets)
    elif not isinstance(targets, str):
        raise ValueError(f"lora.targets={targets}: expected a name or a list of patterns")
    if model is not None:
        match_targets(model.modules(), targets, model.names)
    return targets

"""Own the plan of an evaluation: which sliders, what their pairs show, how they are rendered.

As in `plan`, everything that needs neither weights nor torch is checked here, all problems at
once. Where a slider comes from is read from the metadata of its file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.data.examples import Pair, find_pairs
from pairedit.data.sets import Dataset
from pairedit.files import expand_home, locate
from pairedit.lora.file import CONTROL
from pairedit.measure.readers import Reader
from pairedit.measure.subject import Subject
from pairedit.methods import SEMANTIC
from pairedit.mini.attributes import check_attribute
from pairedit.plan.build import build
from pairedit.plan.keys import EvalConfig
from pairedit.plan.labels import told_apart, uneven
from pairedit.plan.model import (
    Plan,
    build_hardware,
    build_model,
    check_keys,
    names_of,
    rendering_of,
    sizing_of,
)
from pairedit.plan.pairs import pairs_folder
from pairedit.plan.parse import parse_prompts, parse_seeds, split_prompts
from pairedit.plan.roles import inspect_role
from pairedit.plan.use import AUTO, check_use, is_tried, use_of
from pairedit.problems import Held, Problems
from pairedit.runs.tracking import Tracker
from pairedit.settings import Rendering

# Not in conf/eval.yaml, where a list on the command line could not replace a mapping.
DEFAULT_SEEDS = {"start": 1000, "count": 12}
FIELDS = ("folder", "source", "target", "attribute")  # of a dataset, in a LoRA's metadata


@dataclass(frozen=True, kw_only=True)
class EvalPlan(Plan):
    """Hold one checked evaluation."""

    readers: Mapping[str, Reader]
    tracker: Tracker
    subjects: Sequence[Subject]
    swept: Path | None  # the folder of the sweep that they are from
    scales: Sequence[float]
    seeds: Sequence[int]
    prompts: Sequence[str]
    match: float
    calibrate: bool
    rendering: Rendering


def plan_eval(config: DictConfig) -> EvalPlan:
    """Check a composed `EvalConfig` and build its parts.

    Raises:
        ValueError: lists every problem.
    """
    with Held("pairedit.data"):
        return _plan(config)


def _plan(config: DictConfig) -> EvalPlan:
    """Check everything; see `plan_eval`."""
    problems = Problems()
    notes: list[str] = []
    check_keys(config, EvalConfig, problems)
    model = build_model(config, problems)
    tracker = problems.attempt(lambda: build(config.tracker, "tracker", Tracker))
    readers = {
        name: problems.attempt(lambda n=name: build(config.readers[n], f"readers.{n}", Reader))
        for name in config.readers
    }
    sizing = problems.attempt(lambda: sizing_of(config, model))
    rendering = problems.attempt(lambda: rendering_of(config, model, sizing))
    hardware, changes = build_hardware(config, problems)
    scales = list(config.scales)
    problems.expect(
        all(map(math.isfinite, scales)) and any(scale > 0 for scale in scales),
        f"scales={scales}: expected finite numbers, one of them above 0",
    )
    problems.expect(0 < config.match <= 1, f"match={config.match}: expected above 0, at most 1")
    seeds = problems.attempt(
        lambda: parse_seeds(DEFAULT_SEEDS if config.seeds is None else config.seeds)
    )
    default = model.prompt if model else ""
    prompts = problems.attempt(lambda: parse_prompts(config.prompts, config.prompts_file, default))
    notes += split_prompts(config.prompts, config.prompts_file)
    usual = rendering.skip if rendering else 0
    subjects = _subjects(config, model, usual, list(readers.values()), problems, notes)
    problems.done()
    return EvalPlan(
        model=model,
        readers=readers,
        tracker=tracker,
        subjects=subjects,
        swept=None if config.sweep.folder is None else expand_home(config.sweep.folder),
        scales=scales,
        seeds=seeds,
        prompts=prompts,
        match=config.match,
        calibrate=config.calibrate,
        rendering=rendering,
        device=config.device,
        hardware=hardware,
        changes=changes,
        resolved={
            **OmegaConf.to_container(config, resolve=True),
            "seeds": seeds,
            "prompts": prompts,
            "prompts_file": None,
        },
        notes=notes,
    )


def _subjects(
    config: DictConfig,
    model: Any,
    skip: int | float,
    readers: Sequence[Reader | None],
    problems: Problems,
    notes: list[str],
) -> list[Subject]:
    """Read which sliders are asked for, what their pairs show, and how they are used."""
    paths = problems.attempt(lambda: find_sliders(config.lora, config.sweep.folder, notes)) or []
    # A reader of the user's own may read anything, which is known when it is open.
    if all(type(reader).__module__.startswith("pairedit.") for reader in readers if reader):
        problems.attempt(lambda: check_attribute(config.attribute))
    given = None
    if config.pairs is not None:
        given = problems.attempt(lambda: find_pairs(pairs_folder(config.pairs))) or []
    usable = check_use(config.local, config.schedule, config.flowedit, problems)
    subjects, about = [], []
    read: dict[Dataset, Sequence[Pair]] = {}
    for path in paths:
        metadata = problems.attempt(
            lambda p=path: inspect_role(p, names_of(model), notes, checkpoints=False, model=model)
        )
        if metadata is None:
            continue
        found = subject(path, metadata, given, config.attribute, skip, notes, read)
        if usable:
            asked = {key: config[key] for key in ("skip", "local", "schedule", "flowedit")}
            use = use_of(metadata, config.num_inference_steps, **asked)
            unsettled = all(value == AUTO for value in asked.values()) and not is_tried(metadata)
            subjects.append(replace(found.used(use), open=unsettled))
            about.append(metadata)
    known = ((m.get("method"), m.get("step")) for m in about)
    if text := uneven((str(method), step) for method, step in known if isinstance(step, int)):
        notes.append(text)
    return told_apart(subjects, about)


def find_sliders(lora: Any, sweep: str | None, notes: list[str]) -> list[Path]:
    """List the LoRA files that `lora` or `sweep` name.

    Args:
        lora: None, a path or a list of paths.
        sweep: None, or the folder of a run or of a multirun.
        notes: receives jobs of the sweep that hold no slider.

    Raises:
        ValueError: neither or both are given, or there is nothing to evaluate.
    """
    if OmegaConf.is_config(lora):
        lora = OmegaConf.to_container(lora)
    if (lora is None) == (sweep is None):
        raise ValueError("expected one of lora=PATH, lora=[PATH,..] and sweep=FOLDER")
    if sweep is None:
        entries = lora if isinstance(lora, list) else [lora]
        if not entries or not all(isinstance(entry, str) for entry in entries):
            raise ValueError(f"lora={lora}: expected a path or a list of paths")
        if twice := [path for path, count in Counter(entries).items() if count > 1]:
            raise ValueError(f"lora={lora}: a path is there twice: {', '.join(twice)}")
        return [expand_home(entry) for entry in entries]
    folder = expand_home(sweep)
    if not folder.is_dir():
        raise ValueError(f"sweep={sweep}: no such folder")
    name = f"{SEMANTIC}.safetensors"
    found = [*sorted(folder.glob(f"*/{name}")), *sorted(folder.glob(f"*/*/{name}"))]
    if not found:
        raise ValueError(f"sweep={sweep}: no <dataset>/{name} in it or in its jobs")
    for job in sorted(path.parent for path in folder.glob("*/config.yaml")):
        trains = "datasets:" in (job / "config.yaml").read_text(encoding="utf-8", errors="replace")
        if trains and not any(path.is_relative_to(job) for path in found):
            notes.append(f"{job}: holds no slider; the job failed or has not finished")
    return found


def subject(
    path: Path,
    metadata: Mapping[str, Any],
    pairs: Sequence[Pair] | None,
    attribute: str | None,
    skip: int | float,
    notes: list[str],
    read: dict[Dataset, Sequence[Pair]],
) -> Subject:
    """Say where a slider comes from, by its metadata unless told otherwise.

    Args:
        path: its file.
        metadata: of the file.
        pairs: those to use; None for the ones it was trained on, where they are still there.
        attribute: what they change; None for what the dataset says.
        skip: see `Rendering.skip`.
        notes: receives why pairs are not there.
        read: the pairs of datasets that were read already; more are added.
    """
    name = str(metadata.get("dataset") or path.resolve().parent.name)
    if pairs is None:
        pairs = []
        try:
            known = origin(metadata)
            if known is None:
                raise ValueError("the file does not say which pairs it was trained on")
            if known not in read:
                (read[known],) = known.read().values()
            pairs = read[known]
        except ValueError as error:
            notes.append(f"{path}: {error}; pairs=FOLDER names them")
    return Subject(
        path=path,
        label=str(metadata.get("method") or path.stem),
        dataset=name,
        pairs=pairs,
        attribute=attribute or attribute_of(metadata),
        skip=skip,
    )


def origin(metadata: Mapping[str, Any]) -> Dataset | None:
    """Return the pairs of a slider, from the configuration in its metadata."""
    entry = entry_of(metadata)
    known = {key: entry[key] for key in FIELDS if entry.get(key) is not None}
    return Dataset(name=metadata["dataset"], **known) if "folder" in known else None


def attribute_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the attribute that a slider was trained to change, by its metadata."""
    return entry_of(metadata).get("attribute")


def entry_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a slider's dataset was configured with; empty where the metadata lack it."""
    config = metadata.get("config")
    datasets = config.get("datasets") if isinstance(config, Mapping) else None
    for entry in datasets.values() if isinstance(datasets, Mapping) else ():
        if not isinstance(entry, Mapping):
            continue
        values = [entry[key] for key in FIELDS if entry.get(key) is not None]
        # The file may come from anybody.
        if not all(isinstance(v, str) and not CONTROL.search(v) for v in values):
            continue
        name = entry.get("name")
        if not name and entry.get("folder"):
            name = locate(entry["folder"]).resolve().name
        if name and name == metadata.get("dataset"):
            return entry
    return {}

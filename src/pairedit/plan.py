"""Own the plan that a checked configuration becomes.

Everything that can be checked without loading a weight (or torch) is checked here; all problems
are collected in one ValueError, and plain values come out. No configuration goes further.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pairedit.config import (
    Examples,
    GenConfig,
    LoraConfig,
    Model,
    TrainConfig,
    build,
    locate,
    reason,
)
from pairedit.data import Contrast, Example, Pair, Single
from pairedit.edits import OWN_NOISE, Edit, RealImage
from pairedit.hardware import AUTO, PRECISIONS, Hardware
from pairedit.lora import inspect_lora
from pairedit.methods import Method
from pairedit.photos import find_photos, match_content
from pairedit.targets import block_modules, match_targets
from pairedit.tracking import Tracker
from pairedit.values import (
    Problems,
    SliderEntry,
    check_seed,
    choose_prompts,
    is_number,
    parse_prompts,
    parse_seeds,
    parse_sliders,
)

UNIT = 16  # px: FLUX's VAE shrinks 8 times, a token covers 2 x 2 latent pixels
MODEL_PARTS = (
    "transformer",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "scheduler",
)
# What a method learns from, and datasets that hold it.
KINDS = {
    Pair: ("image pairs", "dataset=age, or dataset=folder with pairs=/path"),
    Single: ("single images", "dataset=real, or dataset=images with images=/path"),
    Contrast: ("prompts", "dataset=text_age, or dataset=text"),
}
LARGEST = 8192  # px, rank, rows or tokens: beyond any model's use, before any memory runs out
# Never run with.
SET_ASIDE = {"resolution": 512, "num_inference_steps": 28, "skip": 0}
SET_ASIDE |= {"datasets": {}, "readers": {}, "scales": []}
SAVE_EVERY = 100  # steps; a minute or less of training on a GPU
DEVICES = ("auto", "cpu", "cuda", "mps")


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


@dataclass(frozen=True, kw_only=True)
class GenPlan:
    """Hold one checked sampling job."""

    model: Model
    edit: Edit
    photos: Sequence[tuple[Path, Path | None]]  # with the content LoRA of each
    sliders: Sequence[SliderEntry]
    units: Sequence[float]  # of each slider: what its scales are multiplied by
    across: int  # columns of the sheet; fewer than columns of scales only in a grid
    prompts: Sequence[str] | Mapping[int, str]  # see `values.choose_prompts`
    seeds: Sequence[int | None]  # [None]: the photographs' own noise
    skip: int
    num_inference_steps: int
    guidance_scale: float | None
    resolution: int
    animate: bool
    device: str
    hardware: Hardware
    changes: Mapping[str, Any]
    resolved: Mapping[str, Any]
    notes: Sequence[str]


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


def plan_gen(config: DictConfig) -> GenPlan:
    """Check a composed `GenConfig` and build its parts.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    check_keys(config, GenConfig, problems)
    model = _model(config, problems)
    edit = problems.attempt(lambda: build(config.edit, "edit", Edit))
    _check_steps(config, problems)
    hardware, changes = _hardware(config, problems)
    sliders = problems.attempt(lambda: parse_sliders(config.lora, config.scales, config.grid)) or []
    for skip in {config.skip: None} | {slider.skip: None for slider in sliders if slider.skip}:
        problems.expect(
            0 <= skip < config.num_inference_steps,
            f"skip={skip}: expected 0 <= skip < num_inference_steps="
            f"{config.num_inference_steps}, or the LoRA never acts",
        )
    columns = len(sliders[0].scales) if sliders else 1
    problems.expect(
        not (config.grid and config.animate),
        "animate=true: a grid has no one direction to run along; leave out one of the two",
    )
    problems.expect(
        columns > 1 or not config.animate,
        f"animate=true: an animation needs at least two scales, there is {columns}",
    )
    edit, photos = _photos(config, edit, problems)
    notes = []
    known = {}
    for path in [slider.path for slider in sliders] + [content for _, content in photos if content]:
        known[path] = problems.attempt(lambda path=path: inspect_lora(path))
        base = known[path] and known[path].get("base_model")
        if model and base and base != model.name:
            notes.append(f"{path} was trained on {base}, this is model={model.name}")
    units = [
        problems.attempt(lambda path=slider.path: _unit(known[path], path, config, notes))
        for slider in sliders
        if config.calibrated and known[slider.path] is not None
    ]
    problems.expect(
        bool(sliders) or not config.calibrated, "calibrated=true: without effect, no lora is given"
    )
    seeds = _seeds(config, edit, problems)
    # Photographs are edited without words, as the edits were learnt.
    default = model.prompt if model and not photos else ""
    prompts = problems.attempt(lambda: parse_prompts(config.prompts, config.prompts_file, default))
    chosen = problems.attempt(
        lambda: choose_prompts(prompts or [default], seeds or [0], config.prompts_per_seed)
    )
    problems.done()
    resolved = OmegaConf.to_container(config, resolve=True)
    return GenPlan(
        model=model,
        edit=edit,
        photos=photos,
        sliders=sliders,
        across=len(set(sliders[0].scales)) if config.grid else columns,
        units=units or [1.0] * len(sliders),
        prompts=chosen,
        seeds=seeds,
        skip=config.skip,
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        resolution=config.resolution,
        animate=config.animate,
        device=config.device,
        hardware=hardware,
        changes=changes,
        # Random seeds and prompts from a file are written down as they were drawn and read.
        resolved={
            **resolved,
            "seeds": None if seeds == [None] else seeds,
            "prompts": prompts,
            "prompts_file": None,
        },
        notes=notes,
    )


def _unit(metadata: Mapping[str, Any], path: Path, config: DictConfig, notes: list[str]) -> float:
    """Return the scale that is worth one pair, from a LoRA's metadata.

    Raises:
        ValueError: nobody has measured it, or the slider never got there.
    """
    known = metadata.get("calibration")
    scale = known.get("scale") if isinstance(known, Mapping) else None
    if not is_number(scale) or scale <= 0:
        raise ValueError(
            f"calibrated=true: {path} holds no calibration; pairedit-eval lora={path} measures it, "
            "and says how far the slider gets if it is too weak for one"
        )
    for key in ("skip", "num_inference_steps"):
        if known.get(key, config[key]) != config[key]:
            notes.append(f"{path} was calibrated at {key}={known[key]!r}, this is {config[key]}")
    return float(scale)


def _model(config: DictConfig, problems: Problems) -> Model | None:
    """Build the model group and check that its folder is there and fits the other keys."""
    model = problems.attempt(lambda: build(config.model, "model", Model))
    problems.expect(
        UNIT <= config.resolution <= LARGEST and config.resolution % UNIT == 0,
        f"resolution={config.resolution}: expected a multiple of {UNIT} px, at most {LARGEST}",
    )
    problems.expect(
        config.device in DEVICES, f"device={config.device}: expected one of {', '.join(DEVICES)}"
    )
    guidance = config.guidance_scale
    if guidance is not None:
        problems.expect(0 <= guidance < math.inf, f"guidance_scale={guidance}: expected 0 or more")
    if model is None:
        return None
    problems.expect(
        model.precision in ("float32", "bf16"),
        f"model.precision={model.precision}: expected float32 or bf16",
    )
    problems.expect(
        1 <= model.max_sequence_length <= LARGEST,
        f"model.max_sequence_length={model.max_sequence_length}: expected 1 to {LARGEST}",
    )
    folder = locate(model.path)
    if not folder.is_dir():
        looks_like_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model.path)
        problems.expect(
            bool(looks_like_hub_id), f"model.path={model.path}: no such model folder ({folder})"
        )
        return model
    missing = [part for part in MODEL_PARTS if not (folder / part).is_dir()]
    if missing:
        problems.append(f"model.path={model.path}: no FLUX pipeline, lacks {', '.join(missing)}")
        return model
    try:
        guided = json.loads((folder / "transformer/config.json").read_text())["guidance_embeds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems.append(f"model.path={model.path}: bad transformer/config.json ({error!r})")
        return model
    problems.expect(
        guided == (guidance is not None),
        f"guidance_scale={'null' if guidance is None else guidance}: this model "
        + ("needs a number" if guided else "takes none, expected null"),
    )
    return model


def _hardware(config: DictConfig, problems: Problems) -> tuple[Hardware | None, dict[str, Any]]:
    """Build the hardware group; return it with the keys that were set apart from it."""
    hardware = problems.attempt(lambda: build(config.hardware, "hardware", Hardware))
    problems.expect(
        hardware is None or hardware.name != "cpu" or config.device in ("auto", "cpu"),
        f"device={config.device}: hardware=cpu says otherwise",
    )
    known = (AUTO, *PRECISIONS)
    problems.expect(
        config.precision in known,
        f"precision={config.precision}: expected one of {', '.join(known)}",
    )
    changes = {} if config.precision == AUTO else {"precision": config.precision}
    keys = ("batch_size", "batch_terms", "gradient_checkpointing")
    changes |= {key: config[key] for key in keys if config.get(key) is not None}
    rows = changes.get("batch_size", 1)
    problems.expect(
        1 <= rows <= LARGEST, f"batch_size={rows}: expected at least 1 and at most {LARGEST}"
    )
    share = changes.get("gradient_checkpointing", 0)
    problems.expect(
        isinstance(share, bool | int | float) and 0 <= share <= 1,
        f"gradient_checkpointing={share}: expected true, false or a share of the blocks",
    )
    return hardware, changes


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


def _photos(
    config: DictConfig, edit: Edit | None, problems: Problems
) -> tuple[Edit | None, list[tuple[Path, Path | None]]]:
    """Read the keys of real-image editing; an edit that picks its inversion does so here."""
    if edit is None:
        return None, []
    if not isinstance(edit, RealImage):
        for key in ("image", "content_lora", "inversion", "iterations", "semantic_cfg_scale"):
            if config[key] is not None:
                problems.append(f"{key}={config[key]}: without effect, add edit=real")
        return edit, []
    given = config.content_lora is not None
    edit = edit.chosen(given)
    if config.image is None:
        problems.append("edit=real: needs image=photo.png, a list, or a folder")
        return edit, []
    needed = edit.inversion != "ode"
    if needed and not given:
        problems.append(
            f"inversion={edit.inversion}: needs content_lora=, which pairedit-train "
            "method=inversion trains"
        )
    if given and not needed:
        problems.append(f"content_lora={config.content_lora}: without effect, inversion=ode")
    paths = problems.attempt(lambda: find_photos(config.image)) or []
    contents = [None] * len(paths)
    if paths and needed:
        contents = problems.attempt(lambda: match_content(config.content_lora, paths)) or contents
    return edit, list(zip(paths, contents, strict=True))


def _seeds(config: DictConfig, edit: Edit | None, problems: Problems) -> list[int | None] | None:
    """Read `seeds`: none where photographs bring their own noise, one for them by default."""
    if not isinstance(edit, RealImage):
        return problems.attempt(lambda: parse_seeds(config.seeds))
    if edit.inversion not in OWN_NOISE:
        return problems.attempt(lambda: parse_seeds(0 if config.seeds is None else config.seeds))
    for key, default in (("seeds", None), ("prompts_per_seed", "all")):
        problems.expect(
            config[key] == default,
            f"{key}={config[key]}: without effect, inversion={edit.inversion} starts from the "
            "noise of the image itself",
        )
    return [None]


def check_keys(config: DictConfig, trunk: type, problems: Problems, prefix: str = "") -> None:
    """Refuse keys that were added with a plus sign: nothing would read them.

    A key that takes its value from a bad one elsewhere is noted and set aside, so that the rest
    can be checked.
    """
    known = {part.name for part in fields(trunk)}
    for key in config:
        problems.expect(key in known, f"{prefix}{key}: no such key")
        try:
            config[key]
        except OmegaConfBaseException as error:
            # What is missing, and what the model would say, is named with the group.
            if not re.search(r"\$\{model\.|access model\.|Missing mandatory", str(error)):
                problems.append(f"{prefix}{key}: {reason(error)}")
            config[key] = SET_ASIDE.get(key)


def _check_steps(config: DictConfig, problems: Problems) -> None:
    """Check the length of an inference run."""
    problems.expect(
        1 <= config.num_inference_steps <= 1000,
        f"num_inference_steps={config.num_inference_steps}: expected 1 to 1000",
    )


def _targets(targets: Any, model: Model | None) -> str | tuple[str, ...]:
    """Read `lora.targets`, a name or a list of patterns, and try it on the model's modules."""
    if OmegaConf.is_list(targets) and targets:
        targets = tuple(targets)
    elif not isinstance(targets, str):
        raise ValueError(f"lora.targets={targets}: expected a name or a list of patterns")
    match_targets(block_modules(*_block_counts(model)), targets)
    return targets


def _block_counts(model: Model | None) -> tuple[int, int]:
    """Return the numbers of double and single blocks; FLUX.1's while the model is not at hand."""
    counts = {"num_layers": 19, "num_single_layers": 38}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        config = json.loads((locate(model.path) / "transformer/config.json").read_text())
        counts |= {key: int(config[key]) for key in counts if key in config}
    return counts["num_layers"], counts["num_single_layers"]

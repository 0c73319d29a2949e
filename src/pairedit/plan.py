"""Own the plan that a checked configuration becomes.

Everything that can be checked without loading a weight (or torch) is checked here; all problems
are collected in one ValueError, and plain values come out. No configuration goes further.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.config import (
    Dataset,
    GenConfig,
    Images,
    LoraConfig,
    Model,
    TrainConfig,
    build,
    locate,
)
from pairedit.data import Pair, find_pairs
from pairedit.edits import OWN_NOISE, Edit, RealImage
from pairedit.lora import TARGETS, inspect_lora
from pairedit.methods import SEMANTIC, Method
from pairedit.photos import find_photos, match_content, pick_images
from pairedit.tracking import Tracker
from pairedit.values import Problems, check_seed, parse_prompts, parse_seeds, parse_sliders

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
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """Hold one checked training job."""

    method: Method
    pairs: Mapping[str, Sequence[Pair]]  # by dataset name; a single image is both its sides
    model: Model
    tracker: Tracker
    settings: Mapping[str, Any]  # arguments of `train.Settings`
    preview: bool
    device: str
    precision: str
    method_name: str
    resolved: Mapping[str, Any]  # the whole configuration, JSON values
    notes: Sequence[str]  # what the user should know, such as options without effect


@dataclass(frozen=True, kw_only=True)
class GenPlan:
    """Hold one checked sampling job."""

    model: Model
    edit: Edit
    photos: Sequence[tuple[Path, Path | None]]  # with the content LoRA of each
    sliders: Sequence[tuple[Path, tuple[float, ...]]]
    prompts: Sequence[str]
    seeds: Sequence[int | None]
    skip: int
    num_inference_steps: int
    guidance_scale: float | None
    resolution: int
    batch_size: int
    animate: bool
    device: str
    precision: str
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
    _check_keys(config, TrainConfig, problems)
    _check_keys(config.lora, LoraConfig, problems, "lora.")
    raw = OmegaConf.to_container(config, resolve=False)
    method = problems.attempt(lambda: build(config.method, "method", Method))
    tracker = problems.attempt(lambda: build(config.tracker, "tracker", Tracker))
    model = _model(config, problems)
    pairs = _pairs(config, method, problems)
    steps = config.num_inference_steps
    last = steps - 1 if config.end_step is None else config.end_step
    _check_steps(config, problems)
    problems.expect(
        0 <= config.start_step <= last < steps,
        f"start_step={config.start_step}, end_step={last}: expected 0 <= start_step <= end_step "
        f"< num_inference_steps={steps}",
    )
    problems.expect(config.steps >= 1, f"steps={config.steps}: expected at least 1")
    problems.expect(
        0 <= config.save_every <= config.steps,
        f"save_every={config.save_every}: expected 0 (no checkpoints) to steps={config.steps}",
    )
    for key, value in (
        ("noise_scale", config.noise_scale),
        ("learning_rate", config.learning_rate),
        ("lora.alpha", config.lora.alpha),
    ):
        problems.expect(0 < value < math.inf, f"{key}={value}: expected a number above 0")
    problems.expect(math.isfinite(config.cfg_eta), f"cfg_eta={config.cfg_eta}: expected a number")
    problems.expect(config.lora.rank >= 1, f"lora.rank={config.lora.rank}: expected at least 1")
    check_seed("seed", config.seed, problems)
    problems.expect(
        config.latents in ("mode", "sample"),
        f"latents={config.latents}: expected mode or sample",
    )
    targets = problems.attempt(lambda: _targets(config.lora.targets))
    problems.done()
    notes = [
        f"method={method_name} does not use {key}={config[key]}"
        for key, default in (("cfg_eta", 4.0), ("noise_scale", 1.0))
        if config[key] != default and f"${{{key}}}" not in json.dumps(raw["method"])
    ]
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
            "save_every": config.save_every,
            "latents": config.latents,
            "batch_terms": config.batch_terms,
            "gradient_checkpointing": config.gradient_checkpointing,
        },
        preview=config.preview,
        device=config.device,
        precision=config.precision,
        method_name=method_name,
        resolved=OmegaConf.to_container(config, resolve=True),
        notes=notes,
    )


def plan_gen(config: DictConfig) -> GenPlan:
    """Check a composed `GenConfig` and build its parts.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    _check_keys(config, GenConfig, problems)
    model = _model(config, problems)
    edit = problems.attempt(lambda: build(config.edit, "edit", Edit))
    _check_steps(config, problems)
    problems.expect(
        0 <= config.skip < config.num_inference_steps,
        f"skip={config.skip}: expected 0 <= skip < num_inference_steps="
        f"{config.num_inference_steps}, or the LoRA never acts",
    )
    problems.expect(config.batch_size >= 1, f"batch_size={config.batch_size}: at least 1")
    sliders = problems.attempt(lambda: parse_sliders(config.lora, config.scales)) or []
    columns = len(sliders[0][1]) if sliders else 1
    problems.expect(
        columns > 1 or not config.animate,
        f"animate=true: an animation needs at least two scales, there is {columns}",
    )
    edit, photos = _photos(config, edit, problems)
    notes = []
    for path in [path for path, _ in sliders] + [content for _, content in photos if content]:
        metadata = problems.attempt(lambda path=path: inspect_lora(path))
        base = metadata and metadata.get("base_model")
        if model and base and base != model.name:
            notes.append(f"{path} was trained on {base}, this is model={model.name}")
    seeds = _seeds(config, edit, problems)
    # Photographs are edited without words, as the edits were learnt.
    default = model.prompt if model and not photos else ""
    prompts = problems.attempt(lambda: parse_prompts(config.prompts, config.prompts_file, default))
    problems.done()
    resolved = OmegaConf.to_container(config, resolve=True)
    return GenPlan(
        model=model,
        edit=edit,
        photos=photos,
        sliders=sliders,
        prompts=prompts,
        seeds=seeds,
        skip=config.skip,
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        resolution=config.resolution,
        batch_size=config.batch_size,
        animate=config.animate,
        device=config.device,
        precision=config.precision,
        # Random seeds and prompts from a file are written down as they were drawn and read.
        resolved={
            **resolved,
            "seeds": None if seeds == [None] else seeds,
            "prompts": prompts,
            "prompts_file": None,
        },
        notes=notes,
    )


def _model(config: DictConfig, problems: Problems) -> Model | None:
    """Build the model group and check that its folder is there and fits the other keys."""
    model = problems.attempt(lambda: build(config.model, "model", Model))
    problems.expect(
        config.resolution >= UNIT and config.resolution % UNIT == 0,
        f"resolution={config.resolution}: expected a multiple of {UNIT} px",
    )
    for key, known in (("device", DEVICES), ("precision", PRECISIONS)):
        problems.expect(
            config[key] in known, f"{key}={config[key]}: expected one of {', '.join(known)}"
        )
    guidance = config.guidance_scale
    if guidance is not None:
        problems.expect(0 <= guidance < math.inf, f"guidance_scale={guidance}: expected 0 or more")
    if model is None:
        return None
    problems.expect(
        model.precision in PRECISIONS[1:],
        f"model.precision={model.precision}: expected one of {', '.join(PRECISIONS[1:])}",
    )
    problems.expect(
        model.max_sequence_length >= 1,
        f"model.max_sequence_length={model.max_sequence_length}: expected at least 1",
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


def _pairs(config: DictConfig, method: Method | None, problems: Problems) -> dict[str, list[Pair]]:
    """Build the dataset group and read every folder of pairs, or of single images."""
    found: dict[str, list[Pair]] = {}
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
            lambda key=key: build(config.datasets[key], f"datasets.{key}", Dataset | Images)
        )
        if dataset is None:
            continue
        if method and isinstance(dataset, Images) == (SEMANTIC in method.roles):
            problems.append(
                f"dataset={key}: single images, which method=inversion learns; this one needs pairs"
                if isinstance(dataset, Images)
                else f"dataset={key}: pairs, but method=inversion learns single images; expected "
                "dataset=real, or dataset=images with images=/path"
            )
            continue
        folder = locate(dataset.folder)
        if isinstance(dataset, Images):
            images = problems.attempt(
                lambda dataset=dataset, folder=folder: pick_images(folder, dataset.image_ids)
            )
            for stem, path in (images or {}).items():
                problems.expect(stem not in found, f"dataset: two of them are named {stem}")
                found[stem] = [Pair(stem=stem, source=path, target=path)]
            continue
        name = dataset.name or folder.resolve().name
        problems.expect(name not in found, f"dataset: two of them are named {name}")
        problems.expect(
            re.fullmatch(r"[^/\\]+", name) is not None and name not in (".", ".."),
            f"dataset: {name!r} cannot name a folder",
        )
        found[name] = problems.attempt(lambda folder=folder: find_pairs(folder)) or []
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
    problems.expect(
        config.seeds is None,
        f"seeds={config.seeds}: without effect, inversion={edit.inversion} starts from the "
        "noise of the image itself",
    )
    return [None]


def _check_keys(config: DictConfig, trunk: type, problems: Problems, prefix: str = "") -> None:
    """Refuse keys that were added with a plus sign: nothing would read them."""
    known = {part.name for part in fields(trunk)}
    for key in config:
        problems.expect(key in known, f"{prefix}{key}: no such key")


def _check_steps(config: DictConfig, problems: Problems) -> None:
    """Check the length of an inference run."""
    problems.expect(
        1 <= config.num_inference_steps <= 1000,
        f"num_inference_steps={config.num_inference_steps}: expected 1 to 1000",
    )


def _targets(targets: Any) -> str | tuple[str, ...]:
    """Read `lora.targets`: a name, or a list of patterns."""
    if isinstance(targets, str):
        if targets not in TARGETS:
            raise ValueError(
                f"lora.targets={targets}: expected {' or '.join(TARGETS)}, or a list of patterns"
            )
        return targets
    if not OmegaConf.is_list(targets) or not targets:
        raise ValueError(f"lora.targets={targets}: expected a name or a list of patterns")
    patterns = tuple(targets)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(f"lora.targets: {pattern!r} is no pattern ({error})") from error
    return patterns

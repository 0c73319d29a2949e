"""Own the keys of every command: the typed trunks that `conf/` is composed onto.

Hydra rejects unknown keys and wrong types; the plans check the rest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import MISSING, OmegaConf

from pairedit.files import CONF
from pairedit.runs.resume import fresh_folder
from pairedit.settings import Rendering, Training

LONGEST_NAME = 100  # characters of a job's folder; file systems allow 255 bytes


@dataclass
class LoraKeys:
    """Say how the trained LoRAs are built."""

    rank: int = f"${{oc.select:model.rank,{Training.rank}}}"  # type: ignore[assignment]
    alpha: float = Training.alpha
    targets: Any = Training.targets  # a named set, or a list of patterns


@dataclass
class TrainConfig:
    """List every key of pairedit-train; conf/hydra/help/train.yaml says what they mean."""

    method: Any = MISSING
    datasets: dict[str, Any] = MISSING
    model: Any = MISSING
    tracker: Any = MISSING
    sweep: Any = None
    pairs: str | None = None
    images: str | None = None
    image_ids: Any = None
    cfg_eta: float = 4.0
    noise_scale: float = 1.0
    steps: int = Training.steps
    stop: str | None = None  # auto: sooner, where more steps add nothing
    save_every: int | None = None
    snapshots: bool = Training.snapshots
    resume: str | None = None
    init: str | None = None
    learning_rate: float = f"${{oc.select:model.learning_rate,{Training.learning_rate}}}"  # type: ignore[assignment]
    seed: int = Training.seed
    lora: LoraKeys = field(default_factory=LoraKeys)
    start_step: int | float = f"${{oc.select:model.start_step,{Training.start_step}}}"  # type: ignore[assignment]
    end_step: int | None = None
    num_inference_steps: int = "${model.num_inference_steps}"  # type: ignore[assignment]
    guidance_scale: float | None = "${model.guidance_scale}"  # type: ignore[assignment]
    resolution: int = "${model.resolution}"  # type: ignore[assignment]
    size: Any = "fit"  # or square, or [width, height]
    latents: str = Training.latents
    batch_terms: bool | None = None
    gradient_checkpointing: Any = None  # a share of the blocks, or true or false
    preview: bool = True
    preview_every: int = 0
    report: bool = True
    score: str | None = None  # the measure that a search goes by
    hardware: Any = MISSING
    device: str = "auto"
    precision: str = "auto"


@dataclass
class GenConfig:
    """List every key of pairedit-gen; conf/hydra/help/gen.yaml says what they mean."""

    model: Any = MISSING
    edit: Any = MISSING
    image: Any = None
    mask: Any = None
    content_lora: Any = None
    inversion: str | None = None  # of edit=real, as are the next two
    iterations: int | None = None
    semantic_cfg_scale: float | None = None
    lora: Any = None
    scales: list[float] | None = None
    grid: bool = False
    snapshots: bool = False
    overview: bool = False
    again: str | None = None
    skip: Any = "auto"  # a step, or a noise level; auto: as the file notes, else by the model
    local: Any = "auto"
    schedule: Any = "auto"
    flowedit: Any = "auto"
    seeds: Any = None  # not a list: OmegaConf could not replace that by a mapping
    prompts: Any = None
    prompts_file: str | None = None
    prompts_per_seed: str = "all"
    num_inference_steps: int = "${model.num_inference_steps}"  # type: ignore[assignment]
    guidance_scale: float | None = "${model.guidance_scale}"  # type: ignore[assignment]
    negative_prompt: str = Rendering.negative_prompt
    resolution: int = "${model.resolution}"  # type: ignore[assignment]
    size: Any = "fit"  # or square, or [width, height]
    batch_size: int | None = None
    animate: bool = False
    pairs: Any = True  # on the sheet: those that the file names; false; or a folder
    differences: bool = False
    calibrated: bool = False
    hardware: Any = MISSING
    device: str = "auto"
    precision: str = "auto"


@dataclass
class SweepConfig:
    """Name the folder of a run or multirun; `sweep=FOLDER` on the command line."""

    folder: str | None = None


@dataclass
class EvalConfig:
    """List every key of pairedit-eval; conf/hydra/help/eval.yaml says what they mean."""

    model: Any = MISSING
    readers: dict[str, Any] = MISSING
    tracker: Any = MISSING
    lora: Any = None
    sweep: SweepConfig = field(default_factory=SweepConfig)
    attribute: str | None = None
    pairs: str | None = None
    scales: list[float] = MISSING
    skip: Any = "auto"  # a step, or a noise level; auto: as the file notes, else by the model
    local: Any = "auto"
    schedule: Any = "auto"
    flowedit: Any = "auto"
    seeds: Any = None  # not a list: OmegaConf could not replace that by a mapping
    prompts: Any = None
    prompts_file: str | None = None
    match: float = 0.5
    calibrate: bool = True
    num_inference_steps: int = "${model.num_inference_steps}"  # type: ignore[assignment]
    guidance_scale: float | None = "${model.guidance_scale}"  # type: ignore[assignment]
    negative_prompt: str = Rendering.negative_prompt
    resolution: int = "${model.resolution}"  # type: ignore[assignment]
    size: Any = "fit"  # or square, or [width, height]
    batch_size: int = 16
    hardware: Any = MISSING
    device: str = "auto"
    precision: str = "auto"


@dataclass
class ExportConfig:
    """List every key of pairedit-export."""

    lora: str | None = None
    merge: Any = None
    rank: int | None = None
    layout: str = "diffusers"
    out: str | None = None
    workflow: bool = False
    card: bool = False
    show: Any = None  # folders of other commands, whose results go into the card


@dataclass
class StudioConfig:
    """List every key of pairedit-studio; conf/hydra/help/studio.yaml says what they mean."""

    model: Any = MISSING
    hardware: Any = MISSING
    host: str = "127.0.0.1"
    port: int = 7860
    password: str | None = None
    folder: str = "outputs"
    browser: bool = True
    device: str = "auto"
    precision: str = "auto"


def register() -> None:
    """Make the trunk and the resolvers of `conf/` known to Hydra."""
    _register_trunks()
    OmegaConf.register_new_resolver("pairedit.folder", folder_name, replace=True)
    # Asked for again within one command it must answer the same; the next one gets its own.
    _fresh.cache_clear()
    OmegaConf.register_new_resolver("pairedit.fresh", _fresh, replace=True)


@cache
def _register_trunks() -> None:
    """Make the keys of every command known to Hydra, once in a process."""
    store = ConfigStore.instance()
    store.store(name="train_trunk", node=TrainConfig)
    store.store(name="gen_trunk", node=GenConfig)
    store.store(name="export_trunk", node=ExportConfig)
    store.store(name="eval_trunk", node=EvalConfig)
    store.store(name="studio_trunk", node=StudioConfig)
    # Hydra would hold our launchers against those of the same name that its plugins have stored.
    Plugins.instance()
    stored = store.repo["hydra"]["launcher"]
    for path in (CONF / "hydra/launcher").glob("*.yaml"):
        stored.pop(path.name, None)


@cache
def _fresh(parent: str) -> Path:
    """Answer the same within one command; the next one gets its own."""
    return fresh_folder(parent)  # a function of this module, for Hydra pickles its resolvers


def folder_name(overrides: Sequence[str]) -> str:
    """Name a job's folder by its overrides, so that its path needs no quotes anywhere.

    Args:
        overrides: such as `method=full` or `dataset=[age,smile]`.

    Returns:
        `method-full_dataset-age+smile`: letters, digits and ._+- only. What gets lost on the way
        or is too long is told apart by a short hash.
    """
    # The folder that a sweep is resumed in has the name that it started with.
    overrides = [override for override in overrides if not override.startswith("resume=")]
    if not overrides:
        return "defaults"
    plain = [re.sub(r"[\[\]'\"]", "", override).replace(",", "+") for override in overrides]
    name = "_".join(text.lstrip("+~").replace("=", "-", 1) for text in plain)
    safe = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII)
    lost = safe != name or any(re.search(r"""['"]|.\+""", text) for text in overrides)
    if not lost and len(safe) <= LONGEST_NAME:
        return safe
    digest = hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:8]
    return f"{safe[:LONGEST_NAME]}-{digest}"

"""Own the configuration's shape: the typed trunk, the groups with one shape, and building them.

Hydra composes the files of `conf/` onto `TrainConfig`, `GenConfig` or `EvalConfig`, which reject
unknown keys and wrong types. `plan` checks the rest and turns it into values.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from hydra.core.config_store import ConfigStore
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pairedit.attributes import check_attribute
from pairedit.data import Contrast, Example, Pair, Single, expand_home, find_pairs, pick_images

PACKAGE = Path(__file__).parent
# In a wheel conf/ and data/ lie inside the package, in a checkout beside src/.
ROOT = PACKAGE if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1]
CONF = ROOT / "conf"
SHIPPED = "pkg://"
LONGEST_NAME = 100  # characters of a job's folder; file systems allow 255 bytes
# What OmegaConf says about a type, and what a user reads.
WANTED = {
    "could not be converted to Integer": "expected a whole number",
    "could not be converted to Float": "expected a number",
    "is not a valid bool": "expected true or false",
    "to string": "expected text",
    "is not a ListConfig": "expected a list, such as [1,2]",
    "Cannot merge DictConfig with ListConfig": "a list where keys belong, or keys for a list",
    "Invalid type assigned": "holds keys of its own; set one of those",
    "is not Optional": "expected a value",
}
T = TypeVar("T")


@dataclass
class LoraConfig:
    """Say how the trained LoRAs are built."""

    rank: int = 16
    alpha: float = 1.0
    targets: Any = "attention"  # a named set, or a list of patterns


@dataclass
class TrainConfig:
    """List every key of pairedit-train; see conf/train.yaml for their meaning."""

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
    steps: int = 500
    save_every: int | None = None
    snapshots: bool = False
    resume: str | None = None
    learning_rate: float = 2e-3
    seed: int = 0
    lora: LoraConfig = field(default_factory=LoraConfig)
    start_step: int = 0
    end_step: int | None = None
    num_inference_steps: int = "${model.num_inference_steps}"  # type: ignore[assignment]
    guidance_scale: float | None = "${model.guidance_scale}"  # type: ignore[assignment]
    resolution: int = "${model.resolution}"  # type: ignore[assignment]
    latents: str = "mode"
    batch_terms: bool | None = None
    gradient_checkpointing: Any = None  # a share of the blocks, or true or false
    preview: bool = True
    report: bool = True
    hardware: Any = MISSING
    device: str = "auto"
    precision: str = "auto"


@dataclass
class GenConfig:
    """List every key of pairedit-gen; see conf/gen.yaml for their meaning."""

    model: Any = MISSING
    edit: Any = MISSING
    image: Any = None
    content_lora: Any = None
    inversion: str | None = None  # of edit=real, as are the next two
    iterations: int | None = None
    semantic_cfg_scale: float | None = None
    lora: Any = None
    scales: list[float] | None = None
    grid: bool = False
    skip: int = "${model.skip}"  # type: ignore[assignment]
    seeds: Any = None  # not a list: OmegaConf could not replace that by a mapping
    prompts: Any = None
    prompts_file: str | None = None
    prompts_per_seed: str = "all"
    num_inference_steps: int = "${model.num_inference_steps}"  # type: ignore[assignment]
    guidance_scale: float | None = "${model.guidance_scale}"  # type: ignore[assignment]
    resolution: int = "${model.resolution}"  # type: ignore[assignment]
    batch_size: int | None = None
    animate: bool = False
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
    """List every key of pairedit-eval; see conf/eval.yaml for their meaning."""

    model: Any = MISSING
    readers: dict[str, Any] = MISSING
    tracker: Any = MISSING
    lora: Any = None
    sweep: SweepConfig = field(default_factory=SweepConfig)
    attribute: str | None = None
    pairs: str | None = None
    scales: list[float] = MISSING
    skip: int = "${model.skip}"  # type: ignore[assignment]
    seeds: Any = None  # not a list: OmegaConf could not replace that by a mapping
    prompts: Any = None
    prompts_file: str | None = None
    match: float = 0.5
    calibrate: bool = True
    num_inference_steps: int = "${model.num_inference_steps}"  # type: ignore[assignment]
    guidance_scale: float | None = "${model.guidance_scale}"  # type: ignore[assignment]
    resolution: int = "${model.resolution}"  # type: ignore[assignment]
    batch_size: int = 16
    hardware: Any = MISSING
    device: str = "auto"
    precision: str = "auto"


@dataclass
class ExportConfig:
    """List every key of pairedit-export."""

    lora: str | None = None
    layout: str = "diffusers"
    out: str | None = None


@dataclass(frozen=True, kw_only=True)
class Model:
    """Name a base model and what it is used with by default."""

    name: str
    path: str  # a folder, pkg://<folder shipped with pairedit>, or a model hub id
    resolution: int  # px
    num_inference_steps: int
    skip: int  # first steps of a rendering without LoRA
    guidance_scale: float | None  # None: the model takes none
    max_sequence_length: int  # T5 tokens
    precision: str  # float32 or bf16 on an accelerator; a CPU runs float32
    prompt: str  # rendered when no prompt is given
    inversion_steps: int = 1500  # of method=inversion


@runtime_checkable
class Examples(Protocol):
    """Name what is learnt from."""

    holds: ClassVar[type]  # Pair, Single or Contrast

    def read(self) -> Mapping[str, Sequence[Example]]:
        """List the examples of each training by its name; ValueError says what is wrong."""
        ...


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Name a folder of before/after pairs."""

    holds: ClassVar[type] = Pair
    folder: str  # holds both sides; pkg://<folder> for pairs shipped with pairedit
    name: str | None = None  # by default the folder's own
    source: str = "source"  # the folder of the images before the edit
    target: str = "target"  # and after it
    attribute: str | None = None  # what the pairs change, where a probe can read it

    @property
    def label(self) -> str:
        """Return the name, or the folder's own."""
        return self.name or locate(self.folder).resolve().name

    def read(self) -> dict[str, list[Pair]]:
        """Match the images of both sides."""
        check_attribute(f"datasets.{self.label}.attribute", self.attribute)
        return {self.label: find_pairs(locate(self.folder), self.source, self.target)}


@dataclass(frozen=True, kw_only=True)
class TextDataset:
    """Name the prompts of a text slider."""

    holds: ClassVar[type] = Contrast
    name: str
    target: str  # what the slider acts on
    positive: str | None  # where it leads to
    negative: str | None  # where it comes from
    preserve: list[str] = field(default_factory=list)  # words that must not change along
    attribute: str | None = None  # what the prompts change, where a probe can read it

    def read(self) -> dict[str, list[Contrast]]:
        """List the prompts, once for each attribute to preserve, which both ends then share.

        Source: Concept Sliders (arXiv 2311.12092), disentanglement by preserved concepts.
        """
        check_attribute(f"datasets.{self.name}.attribute", self.attribute)
        if not self.positive or not self.negative:
            raise ValueError(
                f"dataset={self.name}: needs datasets.{self.name}.positive and .negative prompts"
            )
        if self.positive == self.negative:
            raise ValueError(f"dataset={self.name}: positive and negative are equal")
        ends = (self.target, self.positive, self.negative)
        sets = [tuple(f"{end}, {word}" for end in ends) for word in self.preserve] or [ends]
        return {self.name: [Contrast(target=t, positive=p, negative=n) for t, p, n in sets]}


@dataclass(frozen=True, kw_only=True)
class Images:
    """Name a folder of single images, each of them to be learnt on its own."""

    holds: ClassVar[type] = Single
    folder: str  # pkg://<folder> for what ships with pairedit
    image_ids: Any = None  # file stems; None for all

    def read(self) -> dict[str, list[Single]]:
        """Find the images, each to be learnt under its file stem."""
        found = pick_images(locate(self.folder), self.image_ids)
        return {stem: [Single(path=path)] for stem, path in found.items()}


def locate(path: str) -> Path:
    """Turn a configured path into a real one; pkg:// stands for what ships with pairedit."""
    if path.startswith(SHIPPED):
        name = path.removeprefix(SHIPPED)
        inside = PACKAGE / name
        return inside if inside.exists() else ROOT / name
    return expand_home(path)


def register() -> None:
    """Make the trunk and the resolvers of `conf/` known to Hydra."""
    store = ConfigStore.instance()
    store.store(name="train_trunk", node=TrainConfig)
    store.store(name="gen_trunk", node=GenConfig)
    store.store(name="export_trunk", node=ExportConfig)
    store.store(name="eval_trunk", node=EvalConfig)
    OmegaConf.register_new_resolver("pairedit.folder", folder_name, replace=True)


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


def build(node: Any, key: str, kind: type[T]) -> T:
    """Instantiate one member of a config group and check the types of its fields.

    Hydra alone would let `eta=abc` through.

    Args:
        node: the group's config, with `_target_`.
        key: its name in messages.
        kind: the class or runtime-checkable protocol it must be.

    Returns:
        The instance, its fields converted to their declared types.

    Raises:
        ValueError: names the key and what is wrong.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ValueError(f"{key}={node}: expected the name of an option")
    try:
        built = instantiate(node, _convert_="all")
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        raise ValueError(f"{key}: {reason(cause)}") from error
    if not isinstance(built, kind):
        raise ValueError(f"{key}: {type(built).__name__} is no {kind.__name__}")
    return _typed(built, key)


def reason(error: BaseException | str) -> str:
    """Say what is wrong with a value where OmegaConf complains; else the error's first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return next((plain for theirs, plain in WANTED.items() if theirs in lines[0]), lines[0])


def _typed(value: T, key: str) -> T:
    """Return a copy of a dataclass whose fields have the types they declare.

    Raises:
        ValueError: names every field that does not.
    """
    if not dataclasses.is_dataclass(value):
        return value
    hints = typing.get_type_hints(type(value))
    changes, problems = {}, []
    for part in dataclasses.fields(value):
        if not part.init:
            continue
        current = getattr(value, part.name)
        try:
            changes[part.name] = _as_declared(current, f"{key}.{part.name}", hints[part.name])
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return dataclasses.replace(value, **changes)


def _as_declared(value: Any, name: str, hint: Any) -> Any:
    """Return one field's value as the type it declares."""
    if isinstance(hint, type) and getattr(hint, "_is_protocol", False):
        if not isinstance(value, hint):
            raise ValueError(f"{name}={value}: expected a {hint.__name__}")
        return _typed(value, name)
    shape = dataclasses.make_dataclass("Shape", [("value", hint)])
    try:
        return OmegaConf.to_container(OmegaConf.structured(shape(value)))["value"]
    except OmegaConfBaseException as error:
        raise ValueError(f"{name}={value}: {reason(error)}") from error

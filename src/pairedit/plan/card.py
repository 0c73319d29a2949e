"""Own what a folder for a model hub holds: what a slider's file, its run and others say of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from pairedit.data.examples import Pair
from pairedit.data.shapes import Fit, Sizing
from pairedit.files import SHIPPED, expand_home
from pairedit.lora.header import checksum_of
from pairedit.methods import CONTENT, SEMANTIC
from pairedit.pictures.png import read_metadata
from pairedit.plan.eval import entry_of, origin
from pairedit.plan.recipe import Recipe, mapping, recipe_of
from pairedit.problems import Problems

if TYPE_CHECKING:
    from pairedit.bases.licence import Licence

FEW = 8  # renderings that the hub shows as a gallery


@dataclass(frozen=True, kw_only=True)
class Known:
    """Hold what is known of a slider's base model by its name."""

    name: str
    hub: str | None  # its name on the hub; None for what ships with pairedit
    path: str  # that the option names
    pipeline: str  # diffusers' class
    licence: Licence | None
    unit: int  # px


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Hold one picture that the slider drew."""

    path: Path
    prompt: str
    seed: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class Card:
    """Hold what goes into the folder."""

    folder: Path
    name: str  # of the slider
    metadata: Mapping[str, Any]  # of its file
    recipe: Recipe
    base: Known | None
    pairs: Sequence[Pair]  # that it was trained on, where they are still there
    words: tuple[str, str] | None  # or the prompts
    sizing: Sizing
    sheet: Path | None  # a picture of some scales
    renderings: Sequence[Rendering]
    figures: Mapping[str, Any] | None  # a slider's entry of eval.json, with `settings`, `measures`
    verdict: Mapping[str, Any] | None  # report.json of its training
    missing: list[str] = field(default_factory=list)  # what nobody has recorded

    @property
    def file(self) -> Path:
        """Return where the LoRA goes."""
        return self.folder / (re.sub(r"[^\w.-]+", "-", self.name).strip("-.") + ".safetensors")


def plan_card(
    lora: Path,
    metadata: Mapping[str, Any],
    base: Known | None,
    *,
    out: str | None,
    show: Any,
    problems: Problems,
) -> Card | None:
    """Gather what a folder is to hold; None where something is wrong.

    Args:
        lora: the slider's file.
        metadata: of the file.
        base: its base model, where the file names one that is known.
        out: the folder to write.
        show: folders of pairedit-gen and pairedit-eval, or one.
        problems: receives what is wrong.
    """
    before = len(problems)
    problems.expect(
        metadata.get("role") != CONTENT,
        f"card=true: {lora} is a content LoRA; expected a slider",
    )
    folder = Path() if out is None else expand_home(out)
    problems.expect(out is not None, "card=true: needs out=, the folder to write")
    problems.expect(
        folder.suffix.lower() not in (".safetensors", ".pt"),
        f"out={folder}: card=true writes a folder; expected its name",
    )
    empty = folder.is_dir() and not any(folder.iterdir())
    problems.expect(
        out is None or empty or not folder.exists(),
        f"out={folder}: is there already; expected a new or an empty folder",
    )
    shown = problems.attempt(lambda: _shown(show, lora)) or _Shown()
    if len(problems) > before:
        return None
    name, missing = str(metadata.get("dataset") or lora.stem), []
    words = _words(metadata)
    pairs = () if words else _pairs(metadata, missing)
    # What a training has put beside its own file, and nothing of a folder that it was copied to.
    own = lora.stem == SEMANTIC and lora.resolve().parent.name == name
    beside = lora.parent / "preview.png"
    recipe = recipe_of(metadata)
    side = min(recipe.size)
    return Card(
        folder=folder,
        name=name,
        metadata=metadata,
        recipe=recipe,
        base=base,
        pairs=pairs,
        words=words,
        sizing=recipe.size
        if _is_fixed(metadata) or not base
        else Fit(resolution=side, unit=base.unit),
        sheet=shown.sheet or (beside if own and beside.is_file() else None),
        renderings=shown.renderings,
        figures=shown.figures,
        verdict=_json(lora.parent / "report.json") if own else None,
        missing=missing,
    )


@dataclass(kw_only=True)
class _Shown:
    """Hold what was found in the folders of other commands."""

    sheet: Path | None = None
    renderings: list[Rendering] = field(default_factory=list)
    figures: Mapping[str, Any] | None = None


def _shown(show: Any, lora: Path) -> _Shown:
    """Read the folders that `show` names.

    Raises:
        ValueError: names a folder that holds nothing of this slider.
    """
    if OmegaConf.is_config(show):
        show = OmegaConf.to_container(show)
    found = _Shown()
    for entry in show if isinstance(show, list) else [] if show is None else [show]:
        folder = expand_home(str(entry))
        if (folder / "eval.json").is_file():
            found.figures = _figures(folder / "eval.json", lora)
        elif (folder / "images").is_dir():
            found.renderings += _renderings(folder, lora)
            sheet = folder / "sheet.png"
            found.sheet = found.sheet or (sheet if sheet.is_file() else None)
        else:
            raise ValueError(
                f"show={entry}: expected a folder of pairedit-gen, or one of pairedit-eval"
            )
    return found


def _figures(path: Path, lora: Path) -> Mapping[str, Any]:
    """Return what an evaluation says of a slider.

    Raises:
        ValueError: it did not measure this file.
    """
    content = mapping(_json(path))
    sliders = [mapping(entry) for entry in content.get("sliders") or []]
    for entry in sliders:
        if Path(str(entry.get("lora"))) == lora.resolve():
            settings, meanings = content.get("settings"), content.get("measures")
            return {**entry, "settings": settings, "meanings": meanings}
    others = ", ".join(str(entry.get("lora")) for entry in sliders[:3]) or "nothing"
    raise ValueError(f"show={path.parent}: measures {others}, not {lora}")


def _renderings(folder: Path, lora: Path) -> list[Rendering]:
    """Return the pictures of a folder that this slider drew, and no other beside it.

    Raises:
        ValueError: there is none.
    """
    checksum, found = checksum_of(lora), []
    for path in sorted((folder / "images").glob("*.png")):
        said = read_metadata(path)
        alone = said.get("lora.0.sha256") == checksum and "lora.1.sha256" not in said
        if alone and "image" not in said:  # a photograph is somebody's own
            scale, seed = float(said["lora.0.scale"]), int(said.get("seed", 0))
            prompt = said.get("prompt", "")
            found.append(Rendering(path=path, prompt=prompt, seed=seed, scale=scale))
    if not found:
        raise ValueError(f"show={folder}: no image there was drawn by {lora} alone")
    return sorted(found, key=lambda one: (one.prompt, one.seed, one.scale))


def _pairs(metadata: Mapping[str, Any], missing: list[str]) -> Sequence[Pair]:
    """Return the pairs that a slider was trained on; none where they are gone or unknown."""
    why = "the file does not say which pairs it was trained on"
    try:
        if known := origin(metadata):
            (pairs,) = known.read().values()
            return pairs
    except ValueError as error:
        why = f"they are not there any more ({error})"
    missing.append(f"the pairs: {why}")
    return ()


def _words(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the prompts that a text slider leads from and to."""
    entry = entry_of(metadata)
    ends = entry.get("negative"), entry.get("positive")
    return ends if all(isinstance(end, str) for end in ends) else None  # type: ignore[return-value]


def _is_fixed(metadata: Mapping[str, Any]) -> bool:
    """Say whether a training brought every pair to one size, whatever its shape."""
    return mapping(metadata.get("config")).get("size", "square") != "fit"


def _json(path: Path) -> Any:
    """Read a JSON file; None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def known_base(name: str, option: Mapping[str, Any], kind: type) -> Known:
    """Return what is known of a base model.

    Args:
        name: of the option.
        option: its content.
        kind: the class that the option names.
    """
    path = str(option["path"])
    return Known(
        name=name,
        hub=None if path.startswith(SHIPPED) else path,
        path=path,
        pipeline=getattr(kind, "pipeline", ""),
        licence=getattr(kind, "licences", {}).get(name),
        unit=kind.unit,
    )

"""Own the interface for Python: what the commands do, given and returned as objects.

    model = open_model()
    slider = model.train(..), or load(..)
    model.render(slider), model.measure(slider)

Each composes what its command would, so defaults, options and errors are the same. A part may be
the name of an option or an object, which is written down as its YAML would be.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from PIL import Image

from pairedit.bases.base import Base, Loadable
from pairedit.data.sets import Examples
from pairedit.edits import Edit
from pairedit.files import expand_home
from pairedit.jobs import opening
from pairedit.jobs.bench import Bench
from pairedit.jobs.gen import read_parts
from pairedit.jobs.train import about, choose, gauge_of, say_sizes, shown_alike
from pairedit.lora.file import LoraFile, read_lora
from pairedit.machine.hardware import Hardware
from pairedit.measure.readers import Reader
from pairedit.measure.table import to_json
from pairedit.methods import Method
from pairedit.pictures.lanes import lanes_of
from pairedit.plan.eval import plan_eval
from pairedit.plan.gen import plan_gen
from pairedit.plan.model import build_hardware, build_model, names_of
from pairedit.plan.options import composed
from pairedit.plan.train import NAMES, TrainPlan, plan_train
from pairedit.problems import Problems
from pairedit.runs.lock import locked
from pairedit.runs.resume import fresh_folder
from pairedit.runs.tracking import JsonLines
from pairedit.sample import generate
from pairedit.settings import Rendering, Training
from pairedit.train import fit

log = logging.getLogger(__name__)

OUTPUTS = "outputs/python"
# The numbers of `Training` and `Rendering` under the names that the commands know them by.
RENDERING = {f.name for f in fields(Rendering)} | {"resolution", "local", "schedule", "flowedit"}
TRAINING = {f.name for f in fields(Training)}
TRAINING |= {"resolution", "cfg_eta", "noise_scale", "image_ids"}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Hold a base model with the options it was opened by, and do what the commands do with it.

    Numbers have the names that they have on the command line; rank, alpha and targets stand alone.
    """

    base: Base = field(repr=False)
    parts: Mapping[str, Any]  # options, or objects, by config group
    keys: Mapping[str, Any]  # set on top
    config_dir: Path | None = None

    def train(
        self,
        pairs: str | Path | Examples,
        *,
        method: str | Method = "graded",
        folder: str | Path | None = None,
        resume: bool = False,
        **numbers: Any,
    ) -> LoraFile:
        """Train a slider, or the content LoRA of an image.

        Args:
            pairs: a folder of pairs, an option of `dataset`, or an object; one training's.
            method: an option of `method`, or an object.
            folder: receives `<name of the pairs>/` with the LoRA files and metrics.jsonl; by
                default a new one in outputs/python.
            resume: go on from the last checkpoint in `folder`.
            numbers: of `Training`, such as steps; resolution, cfg_eta, noise_scale, image_ids.

        Returns:
            The LoRA to render with; `.path` is its file.

        Raises:
            ValueError: says what is wrong, and what is accepted.
        """
        _accept(numbers, TRAINING)
        keys = {NAMES.get(name, name): value for name, value in numbers.items()}
        parts = {"method": method, "dataset": pairs}
        if isinstance(pairs, Path) or (isinstance(pairs, str) and expand_home(pairs).is_dir()):
            parts["dataset"], keys["pairs"] = "folder", str(pairs)
        if resume and folder is None:
            raise ValueError("resume=True: needs the folder of the training that is to go on")
        name = method if isinstance(method, str) else type(method).__name__
        plan = plan_train(self._composed("train", parts, keys), method_name=name)
        if len(plan.pairs) != 1:
            raise ValueError(
                f"pairs={pairs}: expected one training; it has {', '.join(plan.pairs)}"
            )
        _say(plan.notes)
        place = expand_home(folder or fresh_folder(OUTPUTS)) / next(iter(plan.pairs))
        with locked(place):
            if not resume and (there := sorted(place.glob("*.safetensors"))):
                raise ValueError(f"folder={folder}: holds {there[0]} already; choose another")
            path = self._fit(plan, place, resume)
        return read_lora(path, plan.model.names)

    def _fit(self, plan: TrainPlan, place: Path, resume: bool) -> Path:
        """Train what a plan says; return the LoRA to render with."""
        pairs = plan.pairs[place.name]
        plan = shown_alike(plan, say_sizes(place.name, pairs, plan.training.size))
        notes = about(plan, place.name, choose(self.base, plan, pairs))
        gauge = gauge_of(self.base, plan, pairs, notes) if plan.stop else None
        run = JsonLines(place / "metrics.jsonl", resume=resume)
        try:
            files = fit(
                base=self.base,
                method=plan.method,
                pairs=pairs,
                settings=plan.training,
                folder=place,
                run=run,
                metadata=notes,
                name=place.name,
                resume=resume,
                gauge=gauge,
            )
        finally:
            run.finish()
        return files[plan.method.roles[-1]]

    def render(
        self,
        sliders: LoraFile | Sequence[LoraFile] = (),
        *,
        scales: Iterable[float] | None = None,
        seeds: Iterable[int] | None = None,
        prompts: str | Sequence[str] | None = None,
        photos: Sequence[str | Path] = (),
        masks: Sequence[str | Path] = (),
        edit: str | Edit | None = None,
        **numbers: Any,
    ) -> list[list[Image.Image]]:
        """Render sliders at several scales.

        Args:
            sliders: one, several that act together, or none for the base model.
            scales: of the columns.
            seeds: of the noise, a row for each.
            prompts: each with every seed, a row for each; the model's own by default.
            photos: files to edit, a row for each.
            masks: one for each photograph, white where it may change; by default everywhere.
            edit: an option of `edit`, or an object; by default `real` with photos, else `text`.
            numbers: of `Rendering`, such as skip; also resolution, local, schedule and flowedit.

        Returns:
            Rows of images, a column for each scale; of photographs at their own pixels.

        Raises:
            ValueError: says what is wrong, and what is accepted.
        """
        _accept(numbers, RENDERING)
        several = [sliders] if isinstance(sliders, LoraFile) else sliders
        keys = {
            "lora": [str(slider.path) for slider in several] or None,
            "image": [str(photo) for photo in photos] or None,
            "mask": [str(mask) for mask in masks] or None,
            **_plain(scales=scales, seeds=seeds, prompts=prompts),
            **numbers,
        }
        parts = {"edit": edit or ("real" if photos else "text")}
        plan = plan_gen(self._composed("gen", parts, keys))
        _say(plan.notes)
        loras, pictures = read_parts(plan)
        samples = generate(
            self.base,
            sliders=loras,
            prompts=plan.prompts,
            seeds=plan.seeds,
            rendering=plan.rendering,
            edit=plan.edit,
            photos=pictures,
        )
        return [[sample.finished for sample in lane] for lane in lanes_of(list(samples))]

    def measure(
        self,
        slider: LoraFile,
        *,
        pairs: str | Path | None = None,
        readers: Sequence[str] | Mapping[str, Reader] | None = None,
        scales: Iterable[float] | None = None,
        seeds: Iterable[int] | None = None,
        prompts: str | Sequence[str] | None = None,
        **numbers: Any,
    ) -> dict[str, Any]:
        """Measure a slider on seeds that it has not seen.

        Args:
            slider: what is measured.
            pairs: a folder of what it should do; by default those it was trained on.
            readers: options of `reader`, or objects by name; by default all that can run.
            scales: to render at; 0 is added.
            seeds: see `render`.
            prompts: see `render`.
            numbers: see `render`; also match.

        Returns:
            What eval.json says of a slider: verdict, advice, measures with their intervals, ...

        Raises:
            ValueError: says what is wrong, and what is accepted.
        """
        _accept(numbers, RENDERING | {"match"})
        keys = {"lora": str(slider.path), **_plain(scales=scales, seeds=seeds, prompts=prompts)}
        keys |= numbers if pairs is None else {"pairs": str(pairs), **numbers}
        parts = {} if readers is None else {"reader": readers}
        plan = plan_eval(self._composed("eval", parts, keys))
        _say(plan.notes)
        bench = Bench(plan, {plan.subjects[0].path: slider}, self.base)
        results = bench.measure(plan.subjects)
        return dict(to_json(results, {})["sliders"][0])

    def _composed(self, command: str, parts: Mapping[str, Any], keys: Mapping[str, Any]) -> Any:
        """Compose what a command would do with this model."""
        return composed(command, {**self.parts, **parts}, {**self.keys, **keys}, self.config_dir)


def open_model(
    name: str | Loadable = "flux-mini",
    *,
    device: str = "auto",
    hardware: str | Hardware = "auto",
    config_dir: str | Path | None = None,
    **changes: Any,
) -> Opened:
    """Load a base model.

    Args:
        name: an option of `model`, or an object.
        device: auto, cpu, cuda or mps.
        hardware: an option of `hardware`, or an object.
        config_dir: a folder with options of your own, as `--config-dir`.
        changes: of the model's fields, such as `path="/models/FLUX.1-dev"`.

    Raises:
        ValueError: says what is wrong, and what is accepted.
    """
    parts = {"model": name, "hardware": hardware}
    keys = {"device": device, **{f"model.{key}": value for key, value in changes.items()}}
    own = None if config_dir is None else expand_home(config_dir)
    config = composed("gen", parts, keys, own)
    problems = Problems()
    model = build_model(config, problems)
    profile, apart = build_hardware(config, problems)
    problems.done()
    base = opening.open_model(model, device=device, hardware=profile, changes=apart)
    return Opened(base=base, parts=parts, keys=keys, config_dir=own)


def load(path: str | Path) -> LoraFile:
    """Read a LoRA file of any layout that is known; see docs/files.md.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    return read_lora(expand_home(path), names_of(None))


def _accept(numbers: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse numbers that are none of those that are known."""
    if wrong := [name for name in numbers if name not in known]:
        raise ValueError(f"{', '.join(wrong)}: no such number; there is {', '.join(sorted(known))}")


def _plain(**sequences: Any) -> dict[str, Any]:
    """Turn what was given, such as arrays and ranges, into text or lists of plain values."""
    return {
        key: values
        if isinstance(values, str)
        else [value.item() if hasattr(value, "item") else value for value in values]
        for key, values in sequences.items()
        if values is not None
    }


def _say(notes: Sequence[str]) -> None:
    """Log what the user should know."""
    for note in notes:
        log.warning("%s", note)

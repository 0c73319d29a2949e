"""Own the plan of a rendering; see `plan.train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.data.shapes import Sizing
from pairedit.edits import OWN_NOISE, Edit, RealImage
from pairedit.files import expand_home
from pairedit.machine.hardware import Hardware
from pairedit.measure.subject import Subject
from pairedit.methods import CONTENT, SEMANTIC
from pairedit.plan.again import Batch, read_batch
from pairedit.plan.build import build
from pairedit.plan.choosing import choose
from pairedit.plan.eval import subject
from pairedit.plan.keys import GenConfig
from pairedit.plan.model import (
    build_hardware,
    build_model,
    check_keys,
    names_of,
    rendering_of,
    sizing_of,
)
from pairedit.plan.parse import (
    Wanted,
    choose_prompts,
    parse_prompts,
    parse_seeds,
    parse_sliders,
    split_prompts,
)
from pairedit.plan.photos import match_masks, read_photos
from pairedit.plan.roles import inspect_role, note_base
from pairedit.plan.use import AUTO, Use, check_use, unit_of, use_of
from pairedit.problems import Problems
from pairedit.settings import Rendering, is_skip, skips


@dataclass(frozen=True, kw_only=True)
class GenPlan:
    """Hold one checked sampling job."""

    model: Any  # a `bases.base.Loadable`
    edit: Edit
    photos: Sequence[tuple[Path, Path | None]]  # with the content LoRA of each
    masks: Sequence[Path | None]  # of each photograph
    sliders: Sequence[Wanted]
    units: Sequence[float]  # of each slider: what its scales are multiplied by
    uses: Sequence[Use]  # of each slider
    across: int  # columns of the sheet; fewer than columns of scales only in a grid
    prompts: Sequence[str] | Mapping[int, str]  # see `values.choose_prompts`
    seeds: Sequence[int | None]  # [None]: the photographs' own noise
    rendering: Rendering
    sizing: Sizing  # of photographs
    animate: bool
    device: str
    hardware: Hardware
    changes: Mapping[str, Any]
    resolved: Mapping[str, Any]
    notes: Sequence[str]
    snapshots: Mapping[int, Path]  # of the one slider, by step; empty for other renderings
    overview: Subject | None  # the slider, where many seeds are shown in order
    again: Batch | None  # of the image that is rendered once more with nothing changed


def plan_gen(config: DictConfig) -> GenPlan:
    """Check a composed `GenConfig` and build its parts.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    check_keys(config, GenConfig, problems)
    model = build_model(config, problems)
    edit = problems.attempt(lambda: build(config.edit, "edit", Edit))
    sizing = problems.attempt(lambda: sizing_of(config, model))
    rendering = problems.attempt(lambda: rendering_of(config, model, sizing))
    hardware, changes = build_hardware(config, problems)
    choosing = choose(config, edit, problems)
    sliders = (
        problems.attempt(lambda: parse_sliders(choosing.lora, choosing.scales, config.grid)) or []
    )
    steps = config.num_inference_steps
    for skip in dict.fromkeys(slider.skip for slider in sliders if slider.skip is not None):
        problems.expect(is_skip(skip, steps), f"lora: skip={skip}: expected {skips(steps)}")
    columns = len(sliders[0].scales) if sliders else 1
    problems.expect(
        not (config.grid and config.animate),
        "animate=true: an animation follows one slider, and a grid has two; leave out one of them",
    )
    problems.expect(
        columns > 1 or not config.animate,
        f"animate=true: an animation needs at least two scales, there is {columns}",
    )
    edit, photos = read_photos(config, edit, problems)
    notes: list[str] = []
    masks = _masks(config, [path for path, _ in photos], notes, problems)
    contents = [content for _, content in photos if content]
    paths = [slider.path for slider in sliders]
    known = _headers(model, paths, contents, problems, notes)
    uses = _uses(config, sliders, [known[path] for path in paths], problems)
    units = [
        problems.attempt(
            lambda path=path, use=use: unit_of(known[path], path, rendering, use, notes)
        )
        for path, use in zip(paths, uses, strict=False)
        if config.calibrated and known[path] is not None and rendering
    ]
    seeds = _seeds(config, choosing.seeds, edit, problems)
    # Photographs are edited without words, as the edits were learnt.
    default = model.prompt if model and not photos else ""
    prompts = problems.attempt(lambda: parse_prompts(config.prompts, config.prompts_file, default))
    notes += split_prompts(config.prompts, config.prompts_file)
    chosen = problems.attempt(
        lambda: choose_prompts(prompts or [default], seeds or [0], config.prompts_per_seed)
    )
    problems.done()
    return GenPlan(
        model=model,
        edit=edit,
        photos=photos,
        masks=masks,
        sliders=sliders,
        across=len(set(sliders[0].scales)) if config.grid else columns,
        units=units or [1.0] * len(sliders),
        uses=uses,
        prompts=chosen,
        seeds=seeds,
        rendering=rendering,
        sizing=sizing,
        animate=config.animate,
        device=config.device,
        hardware=hardware,
        changes=changes,
        resolved=_resolved(config, seeds, prompts),
        notes=notes,
        snapshots=choosing.snapshots,
        overview=_subject(paths[0], known[paths[0]], rendering, notes) if config.overview else None,
        again=None if config.again is None else read_batch(expand_home(config.again)),
    )


def _resolved(config: DictConfig, seeds: Sequence[int | None], prompts: Any) -> dict[str, Any]:
    """Return what files note of a configuration, as JSON values."""
    resolved = OmegaConf.to_container(config, resolve=True)
    later = {"snapshots": False, "overview": False, "again": None}  # noted where they are used
    return {
        **{key: value for key, value in resolved.items() if later.get(key, later) != value},
        # Random seeds and prompts from a file are written down as they were drawn and read.
        "seeds": None if seeds == [None] else seeds,
        "prompts": prompts,
        "prompts_file": None,
    }


def _subject(
    path: Path, metadata: Mapping[str, Any], rendering: Rendering, notes: list[str]
) -> Subject:
    """Say what the slider of an overview was trained on, by which its seeds are sorted."""
    lost: list[str] = []
    found = subject(path, metadata, None, None, rendering.skip, lost, {})
    notes += [
        f"overview=true: the pairs of {path} are gone, so no seed is compared with them"
    ] * bool(lost)
    return found


def _masks(
    config: DictConfig, photos: Sequence[Path], notes: list[str], problems: Problems
) -> list[Path | None]:
    """Read `mask`, where there are photographs."""
    if not photos:
        return []
    found = problems.attempt(lambda: match_masks(config.mask, photos, notes))
    return found or [None] * len(photos)


def _headers(
    model: Any,
    sliders: Sequence[Path],
    contents: Sequence[Path],
    problems: Problems,
    notes: list[str],
) -> dict[Path, Mapping[str, Any] | None]:
    """Read the metadata of every LoRA; None of one that cannot be used."""
    known = {}
    for path in [*sliders, *contents]:
        role = SEMANTIC if path in sliders else CONTENT
        known[path] = problems.attempt(
            lambda path=path, role=role: inspect_role(path, names_of(model), notes, role)
        )
        if known[path]:
            note_base(path, known[path], model, notes)
    return known


def _uses(
    config: DictConfig,
    sliders: Sequence[Wanted],
    headers: Sequence[Mapping[str, Any] | None],
    problems: Problems,
) -> list[Use]:
    """Settle how each slider is used; none where the keys mean nothing."""
    needing = {"local": AUTO, "schedule": AUTO, "calibrated": False, "mask": None}
    for key, default in needing.items():
        value = str(config[key]).lower() if isinstance(config[key], bool) else config[key]
        problems.expect(
            bool(headers) or config[key] == default,
            f"{key}={value}: has no effect; no lora is given",
        )
    if not check_use(config.local, config.schedule, problems):
        return []
    run = AUTO if config.skip == AUTO else None  # a skip for the whole run is no slider's own
    return [
        use_of(
            metadata or {},
            run if slider.skip is None else slider.skip,
            config.local if slider.local is None else slider.local,
            config.schedule if slider.schedule is None else slider.schedule,
            config.num_inference_steps,
        )
        for slider, metadata in zip(sliders, headers, strict=True)
    ]


def _seeds(
    config: DictConfig, asked: Any, edit: Edit | None, problems: Problems
) -> list[int | None] | None:
    """Read `seeds`: none where photographs bring their own noise, one for them by default."""
    if not isinstance(edit, RealImage):
        return problems.attempt(lambda: parse_seeds(asked))
    if edit.inversion not in OWN_NOISE:
        return problems.attempt(lambda: parse_seeds(0 if asked is None else asked))
    for key, default in (("seeds", None), ("prompts_per_seed", "all")):
        problems.expect(
            config[key] == default,
            f"{key}={config[key]}: has no effect; inversion={edit.inversion} starts from the "
            "noise of the image itself",
        )
    return [None]

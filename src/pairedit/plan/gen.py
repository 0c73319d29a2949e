"""Own the plan of a rendering; see `plan.train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.data.examples import Pair
from pairedit.data.shapes import Sizing
from pairedit.edits import OWN_NOISE, Edit, RealImage
from pairedit.files import expand_home
from pairedit.measure.subject import Subject
from pairedit.methods import CONTENT, SEMANTIC
from pairedit.plan.again import Batch, read_batch
from pairedit.plan.build import build
from pairedit.plan.choosing import check_slider, choose
from pairedit.plan.eval import subject
from pairedit.plan.keys import GenConfig
from pairedit.plan.model import (
    Plan,
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
from pairedit.plan.roles import inspect_role
from pairedit.plan.shown import in_pairs, pairs_shown
from pairedit.plan.use import Use, known_unit, one_way, unit_of, uses_of
from pairedit.problems import Problems
from pairedit.settings import Rendering, is_skip, skips


@dataclass(frozen=True, kw_only=True)
class GenPlan(Plan):
    """Hold one checked sampling job."""

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
    snapshots: Mapping[int, Path]  # of the one slider, by step; empty for other renderings
    overview: Subject | None  # the slider, where many seeds are shown in order
    again: Batch | None  # of the image that is rendered once more with nothing changed
    pairs: Mapping[str, Sequence[Pair]]  # that the sheet shows, by the name of the edit
    worth: float | None  # the scale of the one slider that is worth one pair, as they are counted
    differences: bool  # the sheet has maps of what differs from scale 0


def plan_gen(config: DictConfig) -> GenPlan:
    """Check a composed `GenConfig` and build its parts.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    notes: list[str] = []
    check_keys(config, GenConfig, problems)
    model = build_model(config, problems)
    edit = problems.attempt(lambda: build(config.edit, "edit", Edit))
    sizing = problems.attempt(lambda: sizing_of(config, model))
    rendering = problems.attempt(lambda: rendering_of(config, model, sizing))
    hardware, changes = build_hardware(config, problems)
    edit, photos = read_photos(config, edit, problems)
    check_slider(config, problems, notes)
    choosing = choose(config, edit, problems)
    sliders = (
        problems.attempt(lambda: parse_sliders(choosing.lora, choosing.scales, config.grid)) or []
    )
    steps = config.num_inference_steps
    for skip in dict.fromkeys(slider.skip for slider in sliders if slider.skip is not None):
        problems.expect(is_skip(skip, steps), f"lora: skip={skip}: expected {skips(steps)}")
    columns = len(sliders[0].scales) if sliders else 1
    _check_film(config, columns, problems)
    masks = _masks(config, [path for path, _ in photos], notes, problems)
    contents = [content for _, content in photos if content]
    paths = [slider.path for slider in sliders]
    known = _headers(model, paths, contents, problems, notes)
    headers = [known[path] for path in paths]
    uses = one_way(uses_of(config, sliders, headers, edit, problems), paths, notes)
    units, pairwise = _units(config, paths, headers, uses, rendering, problems, notes)
    if not config.grid:
        sliders = in_pairs(sliders, pairwise, headers)
    pairs = pairs_shown(config.pairs, dict(zip(paths, headers, strict=True)), problems, notes)
    problems.expect(
        not config.differences or any(not any(s) for s in _columns(sliders)),
        f"differences=true: are from scale 0, which is not among scales={choosing.scales}",
    )
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
        units=units,
        uses=uses,
        prompts=chosen,
        seeds=seeds,
        rendering=rendering,
        sizing=sizing,
        animate=config.animate,
        device=config.device,
        hardware=hardware,
        changes=changes,
        resolved=_resolved(config, sliders, seeds, prompts),
        notes=notes,
        snapshots=choosing.snapshots,
        overview=_subject(paths[0], known[paths[0]], rendering, notes) if config.overview else None,
        again=None if config.again is None else read_batch(expand_home(config.again)),
        pairs=pairs,
        worth=pairwise[0] if len(sliders) == 1 else None,
        differences=config.differences,
    )


def _check_film(config: DictConfig, columns: int, problems: Problems) -> None:
    """Refuse an animation that has no one direction to run along, or only one picture."""
    problems.expect(
        not (config.grid and config.animate),
        "animate=true: an animation follows one slider, and a grid has two; leave out one of them",
    )
    problems.expect(
        columns > 1 or not config.animate,
        f"animate=true: an animation needs at least two scales, there is {columns}",
    )


def _columns(sliders: Sequence[Wanted]) -> list[tuple[float, ...]]:
    """List the scales of every column."""
    return list(zip(*(slider.scales for slider in sliders), strict=True))


def _units(
    config: DictConfig,
    paths: Sequence[Path],
    headers: Sequence[Mapping[str, Any] | None],
    uses: Sequence[Use],
    rendering: Rendering | None,
    problems: Problems,
    notes: list[str],
) -> tuple[list[float], list[float | None]]:
    """Return what the scales of each slider are multiplied by, and those worth one pair."""
    if not rendering or len(uses) < len(paths) or None in headers:
        return [1.0] * len(paths), [None] * len(paths)
    cases = list(zip(paths, headers, uses, strict=True))
    if not config.calibrated:
        name = config.model.name
        return [1.0] * len(paths), [known_unit(h, rendering, use, name) for _, h, use in cases]
    units = [
        problems.attempt(lambda h=h, path=path, use=use: unit_of(h, path, rendering, use, notes))
        for path, h, use in cases
    ]
    return units, [1.0] * len(paths)


def _resolved(
    config: DictConfig, sliders: Sequence[Wanted], seeds: Sequence[int | None], prompts: Any
) -> dict[str, Any]:
    """Return what files note of a configuration, as JSON values."""
    resolved = OmegaConf.to_container(config, resolve=True)
    # Noted where they are used.
    later = {"snapshots": False, "overview": False, "again": None}
    later |= {"pairs": True, "differences": False}
    usual = len(sliders) == 1 and sliders[0].usual
    return {
        **{key: value for key, value in resolved.items() if later.get(key, later) != value},
        # What was chosen by the slider's file.
        **({"scales": list(sliders[0].scales)} if usual else {}),
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
        role, key = (SEMANTIC, "lora") if path in sliders else (CONTENT, "content_lora")
        known[path] = problems.attempt(
            lambda path=path, role=role, key=key: inspect_role(
                path, names_of(model), notes, role, key=key, model=model
            )
        )
    return known


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

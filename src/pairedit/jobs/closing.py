"""Own what a training ends with: a preview, and a report of what the LoRA does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pairedit.bases.base import Base
from pairedit.data.examples import Pair, Single
from pairedit.data.images import load_image
from pairedit.edits import Photo, RealImage
from pairedit.files import locate
from pairedit.jobs.noting import calibration_of
from pairedit.jobs.shooting import PREVIEW_LANES, first_lanes
from pairedit.lora.file import LoraFile, annotate_lora, inspect_lora, read_lora
from pairedit.lora.spec import THUMBNAIL
from pairedit.measure.choice import Choice, by_trial
from pairedit.measure.evaluate import Result, Setting, measure_slider
from pairedit.measure.readers import AttributeProbe, Instrument, open_readers
from pairedit.measure.report import Shown, write_report
from pairedit.measure.selfcheck import (
    check_content,
    placed,
    say_slider,
    update_of,
)
from pairedit.measure.subject import Subject, Unit
from pairedit.pictures.lanes import PLAIN, Look, draw_emblem, draw_sheet
from pairedit.pictures.pairs import band_of
from pairedit.pictures.png import save_png, thumbnail
from pairedit.plan.eval import attribute_of
from pairedit.plan.further import about
from pairedit.plan.recipe import SHOWN, recipe_of
from pairedit.plan.shown import shares_of
from pairedit.plan.train import TrainPlan
from pairedit.plan.use import noted
from pairedit.plan.usual import DEFAULT_SCALES, FURTHER_SCALES
from pairedit.runs.folder import REPORT
from pairedit.runs.losses import read_losses
from pairedit.runs.tracking import Run
from pairedit.runs.words import shell
from pairedit.sample import Sample, Slider, generate
from pairedit.settings import scale_text

log = logging.getLogger(__name__)

NOTHING: Mapping[str, Any] = MappingProxyType({})
MATCH = 0.5  # share of a pair's worth at which what else moves is told, as by `check_slider`


def show_and_check_slider(
    base: Base,
    plan: TrainPlan,
    files: Mapping[str, Path],
    *,
    folder: Path,
    run: Run,
    seconds: float,
    choice: Choice | None,
) -> None:
    """Find how a trained LoRA is best used, note it in its file, and render a few scales of it.

    Args:
        base: the model, without LoRAs.
        plan: what was trained.
        files: the LoRAs by role.
        folder: receives preview.png, report.json and report.html.
        run: receives the first two.
        seconds: that training took; the report takes at most a tenth of them.
        choice: how it is used by its pairs; None where there are none.
    """
    loras = {role: read_lora(path, plan.model.names) for role, path in files.items()}
    edits = loras[plan.method.roles[-1]]
    readers, missing = open_readers(
        {"probe": AttributeProbe()},
        model=locate(plan.model.path),
        size=plan.preview_at.size,
        device=str(base.device),
    )
    subject = Subject(
        path=edits.path,
        label=plan.method_name,
        dataset=folder.name,
        pairs=[pair for pair in plan.pairs[folder.name] if isinstance(pair, Pair)],
        attribute=attribute_of(edits.metadata),
        skip=plan.preview_at.skip,
        typed=about(edits.path, plan.words),
    )
    scales, entries = DEFAULT_SCALES, {}
    if choice:
        choice, entries = _choose(base, plan, subject, edits, readers, choice)
        subject = subject.used(choice.use)
        if choice.unit:
            subject = replace(subject, unit=_short(choice.unit))
            scales = shares_of(subject.unit.scale)  # of what the file notes, as pairedit-gen does
    slider = Slider(
        lora=edits,
        scales=scales,
        skip=subject.skip,
        local=subject.local,
        lean=subject.lean,
        flowedit=subject.flowedit,
    )
    known = subject.unit is not None
    lanes, further = first_lanes(base, plan, subject, slider, readers, seconds, settled=known)
    at = FURTHER_SCALES if further else scales
    result = _measure(plan, subject, lanes, readers, missing) if plan.report else None
    unit = result.recommended if result else None
    if result and choice:
        sigmas = base.sigmas(plan.preview_at.size, plan.preview_at.num_inference_steps)
        entries["calibration"] = calibration_of(result, sigmas, plan.model.name)
    entries |= {SHOWN: list(at)} if at != DEFAULT_SCALES and not unit else {}
    if plan.preview:
        shown = [sample for lane in lanes[:PREVIEW_LANES] for sample in lane]
        bands = [band_of(subject.pairs, plan.training.size)] if subject.pairs else []
        look = Look(bands=bands, unit=unit and unit.scale)
        _show(plan, shown, edits, folder, run, look, entries)
    elif entries:
        annotate_lora(edits.path, **entries)
    if result is None:
        return
    updates = {role: update_of(lora, base) for role, lora in loras.items()}
    say_slider(result, updates, folder=folder, run=run, step=edits.metadata["step"])
    write_report(folder / REPORT, {folder.name: [result]}, _shown(plan, edits, lanes))


def _measure(
    plan: TrainPlan,
    subject: Subject,
    lanes: Sequence[Sequence[Sample]],
    readers: Mapping[str, Instrument],
    missing: Mapping[str, str],
) -> Result:
    """Measure a slider on a few people; its scale has as many digits as so few can tell."""
    scales = tuple(sample.scales[0] for sample in lanes[0])
    size = plan.preview_at.size
    result = measure_slider(subject, placed(lanes), scales, size, readers, missing, MATCH)
    return replace(result, unit=result.unit and _short(result.unit))


def _shown(plan: TrainPlan, lora: LoraFile, lanes: Sequence[Sequence[Sample]]) -> Shown:
    """Say how a slider was trained and looked at, for its report.

    Neither how long it took nor where it lies: a run that is repeated writes the same bytes.
    """
    return Shown(
        settings={
            "trained": f"{plan.method_name}, {lora.metadata['step']} steps",
            "model": plan.model.name,
            "seeds": [lane[0].seed for lane in lanes],
            "prompts": [plan.model.prompt],
            "num_inference_steps": plan.training.num_inference_steps,
            "resolution": plan.resolved["resolution"],
            "match": MATCH,
        },
        notes=[
            "So few seeds give a first look. pairedit-eval reads more of them: its lora= is "
            f"{lora.path.name}, beside this page."
        ],
        losses={lora.path: read_losses(lora.path.parent)},
        asked=False,
    )


def _choose(
    base: Base,
    plan: TrainPlan,
    subject: Subject,
    lora: LoraFile,
    readers: Mapping[str, Instrument],
    choice: Choice,
) -> tuple[Choice, dict[str, Any]]:
    """Try how a slider is best used, and say so; return it with what its file is to say of it."""
    entries: dict[str, Any] = {}
    if plan.report:
        choice = by_trial(
            base,
            subject,
            lora,
            first=choice,
            setting=Setting(prompts=[plan.model.prompt], seeds=[], rendering=plan.preview_at),
            readers=readers,
        )
        entries = {"use": noted(choice.use, choice.by)}
    best = str(choice.use)
    if choice.by == "pairs":
        best = f"local={str(choice.use.local).lower()}, and all else as the base model has it"
    log.info(
        "%s: the pairs change %.0f %% of the latent picture; best used with %s",
        subject.dataset,
        100 * choice.reach,
        best,
    )
    return choice, entries


def say_scale(name: str, lora: Path, words: Sequence[str]) -> None:
    """Say last which scale of a slider is worth one pair, and how to render it.

    Args:
        name: of the dataset.
        lora: the slider, with what its file notes.
        words: that its training was asked for; those on the model and the machine are kept.
    """
    recipe = recipe_of(inspect_lora(lora))
    scale = scale_text(recipe.strength)
    command = f"pairedit-gen {about(lora, words)} {shell(f'scales=[0,{scale}]')}"
    if recipe.scale is None:
        told = f"no scale is known to be worth one pair; scale {scale} is a guess"
    else:
        told = f"scale {scale} is worth one pair {recipe.sure}".rstrip()
    log.info("%s: %s; to render it: %s", name, told, command)


def say_older(name: str, lora: Path) -> None:
    """Say which exports beside a slider are of an earlier one, before its training went on."""
    made = lora.stat().st_mtime
    exports = lora.parent.glob(f"{lora.stem}-[a-z]*")  # with digits it is a snapshot
    older = [path for path in exports if path.stat().st_mtime < made]
    if older:
        names = ", ".join(sorted(path.name for path in older))
        log.warning("%s: older than the slider: %s; export it again", name, names)


def _short(unit: Unit) -> Unit:
    """Give a scale that few people tell as many digits as they can tell."""
    return replace(unit, scale=float(f"{unit.scale:.2g}"))


def _show(
    plan: TrainPlan,
    samples: Sequence[Sample],
    lora: LoraFile,
    folder: Path,
    run: Run,
    look: Look = PLAIN,
    entries: Mapping[str, Any] = NOTHING,
) -> None:
    """Draw preview.png; a slider's file receives a part of it, with what else is noted there."""
    sheet = draw_sheet(samples, title=f"{folder.name}: {plan.method_name}", look=look)
    if plan.method.learns_from is not Single:
        # First, as the preview's file says that all of this has been done.
        emblem = thumbnail(draw_emblem(samples, look.unit))
        annotate_lora(lora.path, {THUMBNAIL: emblem}, **entries)
    save_png(sheet, folder / "preview.png", {"lora": lora.path.name})
    run.image("preview", folder / "preview.png", lora.metadata["step"])


def show_and_check_content(
    base: Base, plan: TrainPlan, files: Mapping[str, Path], *, folder: Path, run: Run
) -> None:
    """Render what a content LoRA makes of noise, beside the image it has learnt.

    See `show_and_check_slider`.
    """
    loras = {role: read_lora(path, plan.model.names) for role, path in files.items()}
    (lora,) = loras.values()
    (example,) = plan.pairs[folder.name]
    image = load_image(example.path, plan.training.size)
    samples = list(
        generate(
            base,
            sliders=[],
            prompts=[""],
            seeds=range(PREVIEW_LANES),
            rendering=replace(plan.preview_at, skip=0),
            edit=RealImage(inversion="lora"),
            photos=[Photo(path=example.path, image=image, content=lora)],
        )
    )
    if plan.preview:
        _show(plan, samples, lora, folder, run)
    if plan.report:
        check_content(
            name=folder.name,
            updates={role: update_of(lora, base) for role, lora in loras.items()},
            samples=samples,
            folder=folder,
            run=run,
            step=lora.metadata["step"],
        )

"""Own a rendering job, from its checked plan to the files it leaves behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

import pairedit
from pairedit.bases.base import Base
from pairedit.data.images import framed, read_image
from pairedit.data.kinds import stem_of
from pairedit.data.masks import photo_mask
from pairedit.data.names import plain_names
from pairedit.data.shapes import Sizing, frame_of, loss
from pairedit.edits import Photo
from pairedit.files import write_yaml
from pairedit.jobs.choosing import show_overview
from pairedit.jobs.opening import at_work, open_for, read_part
from pairedit.pictures.lanes import Look, draw_grid, draw_sheet, draw_snapshots, lanes_of
from pairedit.pictures.metadata import metadata
from pairedit.pictures.pairs import band_of
from pairedit.pictures.png import animate, save_png
from pairedit.plan.again import Batch
from pairedit.plan.gen import GenPlan
from pairedit.runs.folder import CONFIG
from pairedit.sample import Sample, Slider, file_name, generate, lane_name

log = logging.getLogger(__name__)

NUMBERS = ("num_inference_steps", "guidance_scale", "resolution")  # noted in images
RENDERED = (
    *("images/prompt[0-9]*_scale*.png", "images/step[0-9]*_prompt[0-9]*_scale*.png"),
    *("animations/prompt[0-9]*.webp", "sheet.png", "overview.png"),
)


def run_sampling(plan: GenPlan, folder: Path) -> Path:
    """Render the images, the sheet and the animations of a plan.

    Args:
        plan: a checked configuration.
        folder: receives config.yaml, images/, sheet.png and, if asked for, animations/.

    Returns:
        The contact sheet, or the overview.
    """
    render_into(folder, plan)
    return _sheet_of(plan, folder)


def render_into(folder: Path, plan: GenPlan) -> list[Sample]:
    """Do what `run_sampling` does; return the samples."""
    for note in plan.notes:
        log.warning("%s", note)
    sliders, photos = read_parts(plan)
    look = look_of(plan)
    with at_work(plan, folder):
        return _render(plan, folder, sliders, photos, look)


def read_parts(plan: GenPlan) -> tuple[list[Slider], list[Photo]]:
    """Read the LoRAs and photographs of a plan.

    Small files first: a bad LoRA is refused before the model is loaded.

    Raises:
        ValueError: names the file that cannot be used.
    """
    sliders = [
        Slider(
            lora=read_part(entry.path, plan.model),
            scales=entry.scales,
            skip=use.skip,
            unit=unit,
            local=use.local,
            lean=use.lean,
            flowedit=use.flowedit,
        )
        for entry, unit, use in zip(plan.sliders, plan.units, plan.uses, strict=True)
    ]
    labels = plain_names([stem_of(path.name) for path, _ in plan.photos])
    photos = [
        read_photo(
            path,
            plan.sizing,
            mask,
            plan.model.unit,
            content=content and read_part(content, plan.model, "content"),
            label=label,
        )
        for (path, content), mask, label in zip(plan.photos, plan.masks, labels, strict=True)
    ]
    return sliders, photos


def read_photo(path: Path, sizing: Sizing, mask: Path | None, unit: int, **more: Any) -> Photo:
    """Read a photograph at the size that the model draws, and say which size comes back.

    Args:
        path: of the photograph.
        sizing: what it is brought to.
        mask: where sliders may act; None: everywhere.
        unit: px, of the model.
        more: fields of `Photo`.
    """
    whole = read_image(path)
    frame = frame_of(sizing, *whole.size)
    image = framed(whole, frame)
    left, top, right, bottom = frame.box(*whole.size)
    photo = Photo(
        path=path,
        image=image,
        pixels=(right - left, bottom - top),
        mask=mask and photo_mask(mask, path, frame, unit),
        **more,
    )
    if cut := loss(frame, *whole.size):
        log.info("%s: %s", path.name, cut)
    if photo.pixels != image.size:
        log.info(
            "%s: drawn at %d x %d px, comes back at %d x %d px",
            path.name,
            *image.size,
            *photo.pixels,
        )
    return photo


def look_of(plan: GenPlan) -> Look:
    """Read what the sheet shows besides the images; pairs that cannot be read are said."""
    bands = []
    for name, pairs in plan.pairs.items():
        try:
            band = band_of(pairs, plan.sizing, name if len(plan.pairs) > 1 else "")
        except ValueError as error:
            log.warning("the sheet has no pairs of %s: %s", name, error)
        else:
            bands.append(band)
    return Look(bands=bands, unit=plan.worth, differences=plan.differences)


def _render(
    plan: GenPlan,
    folder: Path,
    sliders: Sequence[Slider],
    photos: Sequence[Photo],
    look: Look,
) -> list[Sample]:
    """Render the images of a plan; see `run_sampling`."""
    asked = plan.prompts.values() if isinstance(plan.prompts, Mapping) else plan.prompts
    known = list(dict.fromkeys(asked))
    base = open_for(plan)
    settings = {
        "model": plan.model.name,
        "model_path": plan.model.path,
        **{key: plan.resolved[key] for key in NUMBERS},
        "skip": plan.rendering.skip,
        "max_tokens": plan.model.max_sequence_length,
        "precision": base.hardware.precision,
        "together": base.hardware.batch_size,
        "pairedit": pairedit.__version__,
    }
    if plan.resolved["size"] != "fit":
        settings["size"] = plan.resolved["size"]
    if plan.rendering.negative_prompt:
        settings["negative_prompt"] = plan.rendering.negative_prompt
    if photos:
        settings |= asdict(plan.edit)
    shots: dict[int | None, list[Sample]] = {}
    for step, shown, sample in _samples(plan, base, sliders, photos):
        if not shots:
            # Not earlier: a LoRA that does not fit the model leaves an older run's files alone.
            _clear(folder, [*(photo.path for photo in photos), *filter(None, plan.masks)])
            write_yaml(folder / CONFIG, plan.resolved)
        name = file_name(sample, known.index(sample.prompt))
        name = name if step is None else f"step{step:06d}_{name}"
        save_png(sample.finished, folder / "images" / name, metadata(sample, shown, settings))
        shots.setdefault(step, []).append(sample)
    sheet, samples = _sheet_of(plan, folder), next(iter(shots.values()))
    save_png(_sheet(plan, base, sliders, shots, look), sheet, {"pairedit": settings["pairedit"]})
    if plan.animate:
        for lane in lanes_of(samples):
            name = f"{lane_name(lane[0], known.index(lane[0].prompt))}.webp"
            images = [sample.image for sample in sorted(lane, key=lambda sample: sample.scales)]
            animate(images, folder / "animations" / name)
        log.info("animations: %s", (folder / "animations").resolve())
    log.info("images: %s", (folder / "images").resolve())
    log.info("%s: %s", sheet.stem, sheet.resolve())
    return [sample for shot in shots.values() for sample in shot]


def _samples(
    plan: GenPlan, base: Base, sliders: Sequence[Slider], photos: Sequence[Photo]
) -> Iterator[tuple[int | None, Sequence[Slider], Sample]]:
    """Render a plan, of snapshots one after another; yield the step, the LoRAs and the image."""
    for step, path in (plan.snapshots or {None: None}).items():
        if path is not None:
            sliders = [replace(sliders[0], lora=read_part(path, plan.model))]
        for sample in generate(
            base,
            sliders=sliders,
            prompts=plan.prompts,
            seeds=plan.seeds,
            rendering=plan.rendering,
            edit=plan.edit,
            photos=photos,
            only=plan.again and plan.again.lanes,
        ):
            if plan.again is None or _is_again(plan.again, sample):
                yield step, sliders, sample


def _is_again(batch: Batch, sample: Sample) -> bool:
    """Say whether a sample is the image that is rendered once more; if so, compare the pixels."""
    path = None if sample.photo is None else sample.photo.path
    if not batch.wants(sample.prompt, sample.seed, path, sample.scales):
        return False
    before = read_image(batch.path)
    if before.size != sample.finished.size:
        log.warning("again: %s has another size", batch.path)
    elif most := max(
        high for _, high in ImageChops.difference(before, sample.finished).getextrema()
    ):
        log.warning(
            "again: differs from %s by up to %d of 255, because the machine, the precision or the "
            "version is not the same",
            batch.path,
            most,
        )
    else:
        log.info("again: the same pixels as %s", batch.path)
    return True


def _sheet_of(plan: GenPlan, folder: Path) -> Path:
    """Name the picture of all that a plan renders."""
    return folder / ("overview.png" if plan.overview else "sheet.png")


def _sheet(
    plan: GenPlan,
    base: Base,
    sliders: Sequence[Slider],
    shots: Mapping[int | None, Sequence[Sample]],
    look: Look,
) -> Image.Image:
    """Arrange what was rendered as one picture."""
    title = " + ".join(slider.name for slider in sliders) or plan.model.name
    samples = next(iter(shots.values()))
    if plan.snapshots:
        return draw_snapshots(shots, title=title, look=look)
    if plan.overview:
        return show_overview(base, plan, samples, look)
    if plan.across < len(lanes_of(samples)[0]):
        names = [slider.name for slider in sliders]
        return draw_grid(samples, names, across=plan.across, look=look)
    return draw_sheet(samples, title=title, look=look)


def _clear(folder: Path, inputs: Sequence[Path]) -> None:
    """Remove what an earlier rendering left, so that no old image stands among the new ones.

    Only names that this command gives, and nothing that is being edited.
    """
    inputs = {path.resolve() for path in inputs}
    found = [path for pattern in RENDERED for path in folder.glob(pattern)]
    old = [path for path in found if path.resolve() not in inputs]
    for path in old:
        path.unlink()
    if old:
        log.warning("%s: %d files of an earlier rendering are replaced", folder, len(old))

"""Own the report: one HTML file that opens offline, findings first, then pictures, then figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

import pairedit
from pairedit.data.images import load_images
from pairedit.files import replacing
from pairedit.measure import measures, page
from pairedit.measure.evaluate import Result
from pairedit.measure.families import comparisons, silence, uses
from pairedit.measure.findings import capital, found
from pairedit.measure.panels import panels
from pairedit.measure.table import heads, table
from pairedit.measure.tables import definitions, measured_table, missing, sliders_table
from pairedit.runs.losses import Curve
from pairedit.settings import scale_text

PAIRS = 3  # shown of each edit


@dataclass(frozen=True, kw_only=True)
class Plate:
    """Hold sliders side by side at matched strength: a row for each person."""

    rows: Sequence[Sequence[Image.Image]]
    labels: Sequence[str]  # of the rows
    captions: Sequence[str]  # of the columns


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Hold what a report shows besides its results."""

    settings: Mapping[str, Any]  # how images were rendered
    notes: Sequence[str] = ()  # what the reader should know
    plates: Mapping[str, Plate] = field(default_factory=dict)  # of edits with several sliders
    grids: Mapping[str, bytes] = field(default_factory=dict)  # of edits with two swept numbers
    losses: Mapping[Path, Curve] = field(default_factory=dict)  # of trainings, by their slider
    asked: bool = True  # somebody chose the readers, and wants to know which of them lack


def write_report(path: Path, groups: Mapping[str, Sequence[Result]], shown: Shown) -> None:
    """Write the report of one evaluation.

    Args:
        path: the file to write.
        groups: results by edit, in order.
        shown: what else there is.
    """
    results = [result for group in groups.values() for result in group]
    title = (
        f"{next(iter(groups))} slider"
        if len(results) == 1
        else f"{len(results)} sliders: {', '.join(groups)}"
    )
    several, match = len(groups) > 1, shown.settings["match"]
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(_found(edit if several else "", group) for edit, group in groups.items()),
        _advice(results),
        f"<p class=quiet>{escape(_described(shown.settings))}</p>",
        *(f"<p class=quiet>{escape(note)}</p>" for note in shown.notes),
        _overview(results, match) if len(results) > 1 else "",
        *(
            (f"<h2>{escape(edit)}</h2>" if several else "") + _edit(edit, group, shown, f"e{n}")
            for n, (edit, group) in enumerate(groups.items())
        ),
        _overview(results, match) if len(results) == 1 else "",
        missing(results, asked=shown.asked),
        definitions(results),
    ]
    with replacing(path) as temporary:
        temporary.write_text(page.document(title, parts), encoding="utf-8")


def _found(edit: str, group: Sequence[Result]) -> str:
    """Write what was found of one edit."""
    lead = f"<b>{escape(edit)}.</b> " if edit else ""
    if len(group) == 1:
        verdict = group[0].verdict
        lead += f"<b class='{verdict.name.split()[0]}'>{capital(verdict.told)}.</b> "
    return f"<p class=found>{lead}{escape(_kept(' '.join(found(group))))}</p>"


def _kept(text: str) -> str:
    """Keep a number and its sign in one line."""
    return text.replace(" %", "\u00a0%")


def _described(settings: Mapping[str, Any]) -> str:
    """Say in one line how the images were made."""
    seeds, prompts = settings["seeds"], settings["prompts"]
    run = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(seeds[0])
    lead = f"{settings['trained']}; " if "trained" in settings else ""
    return (
        f"{lead}{settings['model']}, {len(seeds)} seed{'s' * (len(seeds) > 1)} ({run}), "
        + (f"prompt “{prompts[0]}”" if len(prompts) == 1 else f"{len(prompts)} prompts")
        + f", {settings['num_inference_steps']} steps, "
        f"{settings['resolution']} px; pairedit {pairedit.__version__}"
    )


def _advice(results: Sequence[Result]) -> str:
    """Write what to do about sliders that do not work, or not as far as a pair."""
    alike: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if advice := result.advise():
            alike.setdefault((result.verdict.name, advice), []).append(result)
    items = "".join(
        f"<li><b class='{name.split()[0]}'>{name}</b> "
        + escape(", ".join(f"{r.subject.label} on {r.subject.dataset}" for r in group))
        + f": {escape(advice)}.</li>"
        for (name, advice), group in alike.items()
    )
    return f"<ul>{items}</ul>" if items else ""


def _overview(results: Sequence[Result], match: float) -> str:
    """Write the table of all sliders, and which of them differ."""
    differ = list(comparisons(results))
    items = "".join(f"<li>{escape(text)}</li>" for text in differ)
    if items:
        items = (
            "<p class=quiet>± is the standard deviation over the trainings of one row, which "
            f"differ in their seeds.</p><ul>{items}</ul>"
        )
    for text in (silence(results, differ), uses(results)):
        items += f"<p class=quiet>{escape(text)}</p>" if text else ""
    people = len(results[0].seen.distance)
    return "<h2>In figures</h2>" + sliders_table(heads(), table(results), match, people) + items


def _edit(edit: str, group: Sequence[Result], shown: Shown, key: str) -> str:
    """Write all of one edit: pairs beside pictures, then charts, then every slider.

    Args:
        edit: its name.
        group: its sliders.
        shown: what else there is.
        key: begins the ids of its pictures.
    """
    first = group[0]
    films = {f"{key}-{n}": result for n, result in enumerate(group) if _lanes(result)}
    plate = _plate(shown.plates.get(edit))
    together = "<h3>All of them at one scale</h3>" if plate and films else ""
    pictures = plate + together + _stage(films)
    sides = page.pairs(_sides(first), len(first.subject.pairs))
    beside = f"<div class=beside>{sides}<div>{pictures}</div></div>" if sides else pictures
    details = ""
    for n, result in enumerate(group):
        strip = ""
        if len(group) > 1 and f"{key}-{n}" in films:
            strip = _film(f"{key}-{n}", result)
        elif len(group) > 1:
            strip = f"<img class=sheet alt='' src='{page.url_of(result.strip)}'>"
        details += (
            f"<details><summary>{escape(result.subject.label)}: all measures at all scales"
            f"</summary><p class=quiet>Measured with {escape(str(result.subject.use))}.</p>{strip}"
            f"{measured_table(result)}</details>"
        )
    every = _every(f"{key}-0", first) if len(group) == 1 and films else ""
    return f"{beside}{panels(group, shown.losses, shown.grids.get(edit))}{every}{details}"


def _every(key: str, result: Result) -> str:
    """Show one slider at every scale, and say how many people are left out."""
    shown, read = len(_lanes(result)), len(result.seen.distance)
    few = f" ({shown} of {read} people)" if shown < read else ""
    return f"<h3>Pictures at every scale{few}</h3>{_film(key, result)}"


def _lanes(result: Result) -> list[int]:
    """List the lanes of which a picture at every scale has been kept."""
    count = len(result.seen.scales)
    lanes = {lane for lane, _ in result.samples}
    return [n for n in sorted(lanes) if all((n, k) in result.samples for k in range(count))]


def _film(key: str, result: Result) -> str:
    """Show a slider at every scale."""
    scales = range(len(result.seen.scales))
    films = [
        page.Film(name=name, pictures=[result.samples[lane, k].image for k in scales])
        for lane, name in zip(_lanes(result), _names(result), strict=True)
    ]
    return page.film(films, result.seen.scales, key, _unit(result))


def _names(result: Result) -> list[str]:
    """Name the lanes that are shown, by seed, and by prompt where there are several."""
    several = len({prompt for _, prompt in result.lanes}) > 1
    lanes = (result.lanes[lane] for lane in _lanes(result))
    return [f"seed {seed}" + f", {prompt}" * several for seed, prompt in lanes]


def _stage(films: Mapping[str, Result]) -> str:
    """Let sliders be dragged, all of them to one scale."""
    if not films:
        return ""
    first, alone = next(iter(films.values())), len(films) == 1
    names = {
        key: [f"{name}{'' if alone else f', {result.subject.label}'}" for name in _names(result)]
        for key, result in films.items()
    }
    notes = _notes(first) if alone else [f"scale {scale:g}" for scale in first.seen.scales]
    return page.stage(names, first.seen.scales, notes, _unit(first) if alone else None)


def _notes(result: Result) -> list[str]:
    """Say what is known of a slider at each of its scales."""
    known = result.summaries
    notes = []
    for k, scale in enumerate(result.seen.scales):
        parts = [f"scale {scale:g}"]
        if scale and measures.share in known:
            parts.append(f"{100 * float(known[measures.share].mean[k]):.0f} % of a pair's worth")
        if scale and measures.off_target in known:
            parts.append(f"everything else {float(known[measures.off_target].mean[k]):.3f}")
        notes.append(" · ".join(parts))
    return notes


def _unit(result: Result) -> float | None:
    """Return the scale that is worth one pair, as it is said."""
    unit = result.recommended
    return None if unit is None else float(scale_text(unit.scale))


def _sides(result: Result) -> list[list[Image.Image]]:
    """Read the first pairs of a slider, at the size of its pictures."""
    width, height = next(iter(result.samples.values())).image.size
    return [load_images(pair.images, (height, width)) for pair in result.subject.pairs[:PAIRS]]


def _plate(plate: Plate | None) -> str:
    """Show sliders side by side at matched strength."""
    if plate is None:
        return ""
    rows = "".join(
        f"<div><h3>{escape(label)}</h3>{page.cards(row, plate.captions)}</div>"
        for label, row in zip(plate.labels, plate.rows, strict=True)
    )
    title = "Side by side, each at the scale where all are equally strong"
    if any(caption.endswith(")") for caption in plate.captions):
        title += "; those with a word in brackets do not get so far"
    return f"<h3>{title}</h3><div class=plates>{rows}</div>"

"""Own the tab with all runs: look, compare two, take home, throw away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from pairedit.bases.known import USUAL
from pairedit.data.names import plain_name
from pairedit.lora.layouts import LAYOUTS
from pairedit.studio import markup
from pairedit.studio.play import QUICK, Shown, rendered
from pairedit.studio.rows import Asked, slider_at
from pairedit.studio.shelf import Run
from pairedit.studio.studio import Studio, can_go_on
from pairedit.studio.telling import caption, describe, picture_of

DELETE = gr.update(value="Move to the trash", variant="secondary")
EMPTY = Image.new("RGB", (320, 240), "#cbd5e1")  # stands for a run without a picture


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Hold the components of the tab that know of each other."""

    gallery: gr.Gallery
    said: gr.HTML
    details: gr.Column
    about: gr.HTML
    preview: gr.Image
    play: gr.Button
    go_on: gr.Button
    delete: gr.Button
    layout: gr.Dropdown
    make: gr.Button
    told: gr.HTML  # of the files
    files: gr.File
    other: gr.Dropdown
    comparison: gr.HTML
    listed: gr.State  # keys of the runs, as the gallery has them
    chosen: gr.State  # the key of one of them
    sure: gr.State  # the trash was asked for once


def build(studio: Studio, tab: gr.Tab) -> Parts:
    """Lay out the tab; return its components, of which some lead to other tabs."""
    parts = _lay_out()
    _list_and_choose(studio, tab, parts)
    _act(studio, parts)
    return parts


def _lay_out() -> Parts:
    """Make the components."""
    gallery = gr.Gallery(
        label="Runs, the newest first",
        columns=3,
        height="auto",
        fit_columns=False,
        allow_preview=False,
        interactive=False,
        buttons=[],
        object_fit="contain",
        elem_id="runs",
    )
    said = gr.HTML(elem_id="library-said", padding=False)
    small: dict[str, Any] = {"size": "md", "min_width": 130}
    with gr.Column(visible=False, elem_id="details") as details:
        with gr.Row(elem_classes="sides"):
            with gr.Column(scale=3, min_width=320):
                preview = gr.Image(
                    label="Preview", show_label=False, interactive=False, buttons=["fullscreen"]
                )
            with gr.Column(scale=2, min_width=280):
                about = gr.HTML(elem_id="about", padding=False)
                with gr.Row(elem_classes="actions"):
                    play = gr.Button("Play with it", variant="primary", elem_id="play-run", **small)
                    go_on = gr.Button("Go on training", elem_id="go-on-run", **small)
                    delete = gr.Button("Move to the trash", elem_id="delete", **small)
                layout = gr.Dropdown(
                    list(LAYOUTS), value="diffusers", label="Layout of the file", elem_id="layout"
                )
                make = gr.Button("Make the files", size="md", elem_id="export")
                told = gr.HTML(elem_id="files-said", padding=False)
                files = gr.File(
                    label="Files to take home", interactive=False, visible=False, elem_id="files"
                )
        other = gr.Dropdown([], label="Compare with", elem_id="other")
    return Parts(
        gallery=gallery,
        said=said,
        details=details,
        about=about,
        preview=preview,
        play=play,
        go_on=go_on,
        delete=delete,
        layout=layout,
        make=make,
        told=told,
        files=files,
        other=other,
        comparison=gr.HTML(elem_id="compare", padding=False),
        listed=gr.State([]),
        chosen=gr.State(None),
        sure=gr.State(False),
    )


def _list_and_choose(studio: Studio, tab: gr.Tab, parts: Parts) -> None:
    """List the runs, and show the one that is chosen."""

    def opened() -> tuple[Any, ...]:
        listed, keys = _listed(studio)
        return listed, keys, "" if keys else markup.words("No run yet: train one first.")

    def choose(keys: list[str], event: gr.SelectData) -> tuple[Any, ...]:
        run = find(studio, keys[event.index] if event.index < len(keys) else None)
        if run is None:
            return gr.update(visible=False), None, "", *[gr.skip()] * 5, "", "", False, DELETE
        runs = studio.shelf.runs().values()
        others = [(caption(r), r.key) for r in runs if r.slider and r.key != run.key]
        path = picture_of(run)
        return (
            gr.update(visible=True),
            run.key,
            describe(run),
            gr.update(value=path and str(path), visible=path is not None),
            gr.update(visible=run.slider is not None),
            gr.update(visible=can_go_on(run)),
            gr.update(choices=others, value=None),
            gr.update(value=None, visible=False),
            "",
            "",
            False,
            DELETE,
        )

    tab.select(opened, None, [parts.gallery, parts.listed, parts.said], **QUICK)
    shown = [parts.details, parts.chosen, parts.about, parts.preview, parts.play, parts.go_on]
    shown += [parts.other, parts.files, parts.told, parts.comparison, parts.sure, parts.delete]
    parts.gallery.select(choose, parts.listed, shown, **QUICK)


def _act(studio: Studio, parts: Parts) -> None:
    """Throw away, take home, compare."""

    def throw(key: str | None, sure: bool) -> tuple[Any, ...]:
        if not sure:
            return "", True, gr.update(value="Really move it to the trash?", variant="stop")
        run = find(studio, key)
        try:
            if run is None:
                raise ValueError("It is gone already.")
            place = studio.throw_away(run)
        except (ValueError, OSError) as error:
            return markup.problem(str(error)), False, DELETE
        return markup.words(f"It is now in {place}."), False, DELETE

    def left(key: str | None) -> tuple[Any, ...]:
        if find(studio, key):
            return gr.skip(), gr.skip(), gr.skip()
        return gr.update(visible=False), *_listed(studio)

    def export(key: str | None, layout: str) -> tuple[Any, ...]:
        run = find(studio, key)
        try:
            if run is None or run.slider is None:
                raise ValueError("This run has no slider yet.")
            made, warnings = make_files(studio, run, layout)
            files = gr.update(value=[str(path) for path in made], visible=True)
            return markup.words("\n".join(warnings)) if warnings else "", files
        except (ValueError, OSError) as error:
            return markup.problem(str(error)), gr.update(visible=False)

    def compare(
        key: str | None, second: str | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        runs = [find(studio, key), find(studio, second)]
        try:
            panes = _panes(runs)
        except (ValueError, OSError) as error:
            yield markup.problem(str(error)), ""
            return
        for words, html, *_ in rendered(studio, "compare", request, panes):
            yield words, html

    parts.delete.click(
        throw, [parts.chosen, parts.sure], [parts.said, parts.sure, parts.delete], **QUICK
    ).then(left, parts.chosen, [parts.details, parts.gallery, parts.listed], **QUICK)
    parts.make.click(export, [parts.chosen, parts.layout], [parts.told, parts.files], **QUICK)
    parts.other.input(compare, [parts.chosen, parts.other], [parts.said, parts.comparison], **QUICK)


def _panes(runs: list[Run | None]) -> list[tuple[str, Shown]]:
    """Say what is shown of two runs side by side: one person, in one unit.

    Raises:
        ValueError: one of them has no slider.
    """
    known = [run for run in runs if run is not None and run.slider is not None]
    if len(known) < len(runs):
        raise ValueError("Both need a slider.")
    sliders = [slider_at(run.slider, run.name) for run in known]
    both = all(slider.unit is not None for slider in sliders)
    asked = [
        Asked(sliders=(slider if both else replace(slider, unit=None),)).first for slider in sliders
    ]
    return [
        (f"{number}: {caption(run)}", Shown(asked=one))
        for number, (run, one) in enumerate(zip(known, asked, strict=True), 1)
    ]


def label_of(studio: Studio, key: str | None) -> str | None:
    """Return what the other tabs call the slider of a run."""
    run = find(studio, key)
    if run is None or run.slider is None:
        return None
    return next((k for k, s in studio.sliders().items() if s.path == run.slider), None)


def make_files(studio: Studio, run: Run, layout: str) -> tuple[list[Path], list[str]]:
    """Write a slider in a layout, with the workflow where ComfyUI reads it; return warnings, too.

    Raises:
        ValueError: there is no such layout, or the modules do not fit it.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout}: expected one of {', '.join(LAYOUTS)}")
    mark = hashlib.sha256(str(run.folder).encode()).hexdigest()[:12]
    folder = studio.own / "exports" / mark
    out = folder / f"{plain_name(run.folder.name)}-{layout}{LAYOUTS[layout].suffix}"
    drawn = layout != "published" and studio.plan.model.names is USUAL.names
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"lora": str(run.slider), "layout": layout, "out": str(out), "workflow": drawn}
    warnings = studio.hand.do("export", keys=keys)
    return [out, *([out.with_name(f"{out.stem}-workflow.json")] if drawn else [])], warnings


def find(studio: Studio, key: str | None) -> Run | None:
    """Look a run up by what the browser calls it."""
    return studio.shelf.runs().get(key) if key else None


def _listed(studio: Studio) -> tuple[Any, list[str]]:
    """Fill the gallery with every run; return its keys, too."""
    runs = studio.shelf.runs()
    items = [(str(picture_of(run) or "") or EMPTY, caption(run)) for run in runs.values()]
    shown = gr.update(value=items, selected_index=None, visible=bool(items))
    return shown, list(runs)

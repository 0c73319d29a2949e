"""Own the tab with all runs: look, compare two, take home, throw away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from pairedit.bases.known import USUAL
from pairedit.data.names import plain_name
from pairedit.lora.layouts import LAYOUTS
from pairedit.studio import markup
from pairedit.studio.play import QUICK, Shown, rendered
from pairedit.studio.rows import Asked, slider_at
from pairedit.studio.shelf import Run
from pairedit.studio.studio import Studio

DELETE = gr.update(value="Move to the trash", variant="secondary")
MEASURES = ("target", "off-target", "share of a pair", "image change")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Hold the components of the tab that know of each other."""

    gallery: gr.Gallery
    said: gr.HTML
    details: gr.Column
    about: gr.HTML
    preview: gr.Image
    play: gr.Button
    delete: gr.Button
    layout: gr.Dropdown
    make: gr.Button
    files: gr.File
    other: gr.Dropdown
    comparison: gr.HTML
    listed: gr.State  # keys of the runs, as the gallery has them
    chosen: gr.State  # the key of one of them
    sure: gr.State  # the trash was asked for once


def build(studio: Studio, tab: gr.Tab) -> tuple[gr.Button, gr.State]:
    """Lay out the tab; return the button that plays a run, and which one is chosen."""
    parts = _lay_out()
    _list_and_choose(studio, tab, parts)
    _act(studio, parts)
    return parts.play, parts.chosen


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
    said = gr.HTML(elem_id="library-said")
    with gr.Column(visible=False) as details:
        about = gr.HTML(elem_id="about")
        preview = gr.Image(label="Preview", interactive=False, buttons=["fullscreen"])
        with gr.Row():
            play = gr.Button("Play with it", variant="primary", size="md", elem_id="play-run")
            delete = gr.Button("Move to the trash", size="md", elem_id="delete")
        with gr.Row():
            layout = gr.Dropdown(list(LAYOUTS), value="diffusers", label="Layout", elem_id="layout")
            make = gr.Button("Make the files", size="md", elem_id="export")
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
        delete=delete,
        layout=layout,
        make=make,
        files=files,
        other=other,
        comparison=gr.HTML(elem_id="compare"),
        listed=gr.State([]),
        chosen=gr.State(None),
        sure=gr.State(False),
    )


def _list_and_choose(studio: Studio, tab: gr.Tab, parts: Parts) -> None:
    """List the runs, and show the one that is chosen."""

    def opened() -> tuple[Any, ...]:
        pictured = [
            (run.key, str(path), _caption(run))
            for run in studio.shelf.runs().values()
            if (path := _picture(run)) is not None
        ]
        items = [(path, text) for _, path, text in pictured]
        empty = "" if items else markup.words("No run with a picture yet: train one first.")
        return gr.update(value=items, selected_index=None), [key for key, *_ in pictured], empty

    def choose(keys: list[str], event: gr.SelectData) -> tuple[Any, ...]:
        run = _find(studio, keys[event.index] if event.index < len(keys) else None)
        if run is None:
            return gr.update(visible=False), None, "", None, gr.skip(), None, "", False, DELETE
        runs = studio.shelf.runs().values()
        others = [(_caption(r), r.key) for r in runs if r.slider and r.key != run.key]
        path = _picture(run)
        return (
            gr.update(visible=True),
            run.key,
            _about(run),
            None if path is None else str(path),
            gr.update(choices=others, value=None),
            gr.update(value=None, visible=False),
            "",
            False,
            DELETE,
        )

    tab.select(opened, None, [parts.gallery, parts.listed, parts.said], **QUICK)
    shown = [parts.details, parts.chosen, parts.about, parts.preview, parts.other, parts.files]
    shown += [parts.comparison, parts.sure, parts.delete]
    parts.gallery.select(choose, parts.listed, shown, **QUICK)


def _act(studio: Studio, parts: Parts) -> None:
    """Throw away, take home, compare."""

    def throw(key: str | None, sure: bool) -> tuple[Any, ...]:
        if not sure:
            return "", True, gr.update(value="Really move it to the trash?", variant="stop")
        run = _find(studio, key)
        try:
            if run is None:
                raise ValueError("It is gone already.")
            place = studio.throw_away(run)
        except (ValueError, OSError) as error:
            return markup.problem(str(error)), False, DELETE
        return markup.words(f"It is in {place}."), False, DELETE

    def left(key: str | None) -> tuple[Any, ...]:
        if _find(studio, key):
            return gr.skip(), gr.skip(), gr.skip()
        runs = {r.key: r for r in studio.shelf.runs().values() if _picture(r)}
        items = [(str(_picture(run)), _caption(run)) for run in runs.values()]
        return gr.update(visible=False), gr.update(value=items, selected_index=None), list(runs)

    def export(key: str | None, layout: str) -> tuple[Any, ...]:
        run = _find(studio, key)
        try:
            if run is None or run.slider is None:
                raise ValueError("This run has no slider yet.")
            made = [str(path) for path in make_files(studio, run, layout)]
            return "", gr.update(value=made, visible=True)
        except (ValueError, OSError) as error:
            return markup.problem(str(error)), gr.update(visible=False)

    def compare(key: str | None, second: str | None) -> Iterator[tuple[Any, ...]]:
        runs = [_find(studio, key), _find(studio, second)]
        try:
            panes = _panes(runs)
        except (ValueError, OSError) as error:
            yield markup.problem(str(error)), ""
            return
        for words, html, made, _ in rendered(studio, "compare", panes):
            yield words, html if isinstance(made, Shown) else gr.skip()

    parts.delete.click(
        throw, [parts.chosen, parts.sure], [parts.said, parts.sure, parts.delete], **QUICK
    ).then(left, parts.chosen, [parts.details, parts.gallery, parts.listed], **QUICK)
    parts.make.click(export, [parts.chosen, parts.layout], [parts.said, parts.files], **QUICK)
    parts.other.input(compare, [parts.chosen, parts.other], [parts.said, parts.comparison], **QUICK)


def _panes(runs: list[Run | None]) -> list[tuple[str, Asked]]:
    """Say what is shown of two runs side by side: one person, in one unit.

    Raises:
        ValueError: one of them has no slider.
    """
    known = [run for run in runs if run is not None and run.slider is not None]
    if len(known) < len(runs):
        raise ValueError("Both need a slider.")
    sliders = [slider_at(run.slider, run.name) for run in known]
    both = all(slider.unit is not None for slider in sliders)
    return [
        (
            f"{number}: {_caption(run)}",
            Asked(sliders=(slider if both else replace(slider, unit=None),)).first,
        )
        for number, (run, slider) in enumerate(zip(known, sliders, strict=True), 1)
    ]


def label_of(studio: Studio, key: str | None) -> str | None:
    """Return what the other tabs call the slider of a run."""
    run = _find(studio, key)
    if run is None or run.slider is None:
        return None
    return next((k for k, s in studio.sliders().items() if s.path == run.slider), None)


def make_files(studio: Studio, run: Run, layout: str) -> list[Path]:
    """Write a slider in a layout, with the workflow where ComfyUI reads it.

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
    studio.hand.do("export", keys=keys)
    return [out, *([out.with_name(f"{out.stem}-workflow.json")] if drawn else [])]


def _find(studio: Studio, key: str | None) -> Run | None:
    """Look a run up by what the browser calls it."""
    return studio.shelf.runs().get(key) if key else None


def _picture(run: Run) -> Path | None:
    """Return the picture that stands for a run."""
    names = (run.folder / name for name in ("preview.png", "pairs.png"))
    return next((path for path in names if path.is_file()), None)


def _caption(run: Run) -> str:
    """Write a run in a line."""
    parts = (run.name, run.verdict, run.base, f"{run.when:%d %b %H:%M}")
    return " · ".join(part for part in parts if part)


def _about(run: Run) -> str:
    """Say what is known of a run."""
    lines = [f"{_caption(run)} · {run.method or 'method unknown'}"]
    lines.append(f"Step {run.step} of {run.steps}, in {run.folder}")
    if advice := run.report.get("advice"):
        lines.append(f"Advice: {advice}")
    scales = run.report.get("scales") or []
    measures = run.report.get("measures") or {}
    for name in MEASURES:
        values = measures.get(name)
        if isinstance(values, list) and len(values) == len(scales):
            at = (f"{s:g}: {v:+.3f}" for s, v in zip(scales, values, strict=True) if v is not None)
            lines.append(f"{name} by scale: {', '.join(at)}")
    return markup.words("\n".join(lines))

"""Own the page: its tabs, its theme, what its head holds. Nothing is loaded from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr

from pairedit.studio import library, markup, photograph, play, training
from pairedit.studio.play import QUICK
from pairedit.studio.studio import Studio
from pairedit.studio.watching import current

HERE = Path(__file__).parent
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """Return a calm theme of the fonts that the machine has."""
    return gr.themes.Base(
        primary_hue="blue",
        secondary_hue="slate",
        neutral_hue="slate",
        font=list(FONTS),
        font_mono=list(MONO),
        text_size=gr.themes.sizes.text_lg,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )


def look() -> dict[str, Any]:
    """Return what Gradio is given for the page's look."""
    names = ("changes.js", "element.js", "reload.js")
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in names]
    inside = (HERE / "element.css").read_text(encoding="utf-8")
    first = f"window.pairedit = {{ style: {json.dumps(inside)} }};"
    style = (HERE / "style.css").read_text(encoding="utf-8")
    head = f"<script>{' '.join([first, *scripts])}</script>"
    return {"theme": theme(), "css": style, "head": head}


def build(studio: Studio) -> gr.Blocks:
    """Lay out the page."""
    name = studio.plan.model.name
    with gr.Blocks(title="pairedit studio", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            f"<h1>pairedit studio</h1><p>Base model: {name}</p>", elem_id="title", padding=False
        )
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
            with gr.Tab("Play", id="play", elem_id="tab-play") as playing:
                show, asked, shown = play.build(studio, blocks)
            with gr.Tab("Train", id="train", elem_id="tab-train") as train:
                timer, done, watched = training.build(studio, train)
            with gr.Tab("Photograph", id="photograph") as photographing:
                other = photograph.build(studio)
            with gr.Tab("Library", id="library") as shelf:
                chosen = library.build(studio, shelf)

        def labels(current: str | None) -> Any:
            names = list(studio.sliders())
            known = current in names
            return gr.update(choices=names) if known else gr.update(choices=names, value=None)

        def play_it(key: str | None) -> tuple[Any, ...]:
            label = library.label_of(studio, key)
            return gr.Tabs(selected="play"), gr.update(choices=list(studio.sliders()), value=label)

        def play_watched(folder: str | None) -> tuple[Any, ...]:
            run = current(studio, folder)
            return play_it(run and run.key)

        def go_on(key: str | None) -> tuple[Any, ...]:
            run = library.find(studio, key)
            try:
                studio.go_on(run)
            except (ValueError, OSError) as error:
                return gr.skip(), gr.skip(), markup.problem(str(error))
            return gr.Tabs(selected="train"), str(run.run), ""

        slider = asked[0]
        train.select(lambda: gr.update(active=True), None, timer, **QUICK)
        for tab in (playing, photographing, shelf):
            tab.select(lambda: gr.update(active=False), None, timer, **QUICK)
        playing.select(labels, slider, slider, **QUICK)
        photographing.select(labels, other, other, **QUICK)
        chosen.go_on.click(go_on, chosen.chosen, [tabs, watched, chosen.said], **QUICK).then(
            lambda: gr.update(active=True), None, timer, **QUICK
        )
        for button, act, which in (
            (chosen.play, play_it, chosen.chosen),
            (done, play_watched, watched),
        ):
            button.click(act, which, [tabs, slider], **QUICK).then(show, asked, shown, **QUICK)
    blocks.queue(default_concurrency_limit=8, max_size=64)
    return blocks

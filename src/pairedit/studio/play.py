"""Own the tab to play in: a row of one person, dragged over its strength."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from pairedit.studio import markup
from pairedit.studio.rows import Asked, finer
from pairedit.studio.studio import NONE, Studio

# Nothing greys out while it is asked for; and no event is offered to programs.
QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
MOST_SEEDS = 2**31 - 1
POSITION = "(...given) => [...given.slice(0, -1), window.pairedit.position('{}')]"
EMPTY = "There is no slider of this base model yet. Train one in the next tab."


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Hold what a row on the page was made of; of one browser's tab."""

    asked: Asked
    places: tuple[Path, ...]  # folders of pictures


def build(studio: Studio, blocks: gr.Blocks) -> tuple[Any, list[Any], list[Any]]:
    """Lay out the tab; return what shows a row, its inputs with the slider first, its outputs."""
    labels = list(studio.sliders())
    first = next((label for label in labels if label.endswith("(shipped)")), None)
    shown = gr.State(None)
    with gr.Row():
        slider = gr.Dropdown(
            labels,
            value=first or next(iter(labels), None),
            label="Slider",
            elem_id="play-slider",
            min_width=250,
        )
        second = gr.Dropdown(
            [NONE, *labels], value=NONE, label="Second slider, for a pad", min_width=250
        )
        seed = gr.Number(0, label="Person (seed)", precision=0, minimum=0, maximum=MOST_SEEDS)
        prompt = gr.Textbox(
            "", label="Prompt", placeholder=studio.plan.model.prompt, max_length=500
        )
    said = gr.HTML(elem_id="play-said")
    place = gr.HTML(elem_id="play")
    with gr.Row():
        before = gr.Button("Previous person", size="md", elem_id="previous-person")
        after = gr.Button("Next person", size="md", elem_id="next-person")
        more = gr.Button("More like this", size="md", elem_id="more")
    with gr.Accordion("The same on the command line", open=False):
        command = gr.Code(
            language=None, lines=2, wrap_lines=True, label="pairedit-gen", interactive=False
        )
    at = gr.JSON(visible=False)

    def show(label: str, other: str, seed: float, prompt: str) -> Iterator[tuple[Any, ...]]:
        sliders = studio.sliders()
        chosen = [sliders[name] for name in (label, other) if name in sliders]
        if label not in sliders or not chosen:
            yield markup.words(EMPTY), gr.skip(), None, gr.skip()
            return
        asked = Asked(
            sliders=tuple(chosen), seed=int(seed or 0), prompt=prompt.strip() or None
        ).first
        yield from rendered(studio, "play", [("", asked)])

    def refine(shown: Shown | None, at: Any) -> Iterator[tuple[Any, ...]]:
        if shown is None:
            return
        yield from more_of(studio, "play", shown, at)

    outputs = [said, place, shown, command]
    asked = [slider, second, seed, prompt]
    for event in (slider.input, second.input, prompt.submit, seed.submit, seed.blur, blocks.load):
        event(show, asked, outputs, trigger_mode="always_last", **QUICK)
    for button, by in ((before, -1), (after, 1)):
        button.click(
            lambda seed, by=by: min(max(int(seed or 0) + by, 0), MOST_SEEDS), seed, seed, **QUICK
        ).then(show, asked, outputs, **QUICK)
    more.click(refine, [shown, at], outputs, js=POSITION.format("play"), **QUICK)
    return show, asked, outputs


def rendered(studio: Studio, key: str, panes: list[tuple[str, Asked]]) -> Iterator[tuple[Any, ...]]:
    """Render rows; yield what to say, the element, what it was made of, and the command."""
    asked = panes[0][1]
    command = "\n".join(studio.rows.command(row, studio.plan.words) for _, row in panes)
    try:
        for _, row in panes:
            for text in studio.rendered(row):
                yield markup.words(text), gr.skip(), gr.skip(), command
    except (ValueError, OSError) as error:
        yield markup.problem(str(error)), gr.skip(), gr.skip(), command
        return
    places = [(title, [studio.rows.place(row)]) for title, row in panes]
    html = markup.row(key, asked, [(t, studio.rows.pictures(p)) for t, p in places])
    yield "", html, Shown(asked=asked, places=tuple(places[0][1])), command


def more_of(studio: Studio, key: str, shown: Shown, at: Any) -> Iterator[tuple[Any, ...]]:
    """Render finer positions around one, and add them to a row."""
    asked, pictures = shown.asked, studio.rows.pictures(shown.places)
    if asked.is_pad:
        yield markup.words("A pad has no finer pictures; choose one slider."), *[gr.skip()] * 3
        return
    place = float(at[0]) if isinstance(at, list) and at else 0.0
    positions = finer([picture.at[0] for picture in pictures], place)
    if not positions:
        return
    new = replace(asked, positions=positions)
    for said, html, made, command in rendered(studio, key, [("", new)]):
        if isinstance(made, Shown):
            places = (*shown.places, studio.rows.place(new))
            html = markup.row(key, asked, [("", studio.rows.pictures(places))])
            made = Shown(asked=asked, places=places)
        yield said, html, made, command

"""Own the tab to edit a photograph in: first how well it comes back, then the slider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from pairedit.studio import markup
from pairedit.studio.play import EMPTY, POSITION, QUICK, Shown, more_of, rendered
from pairedit.studio.rows import Asked, read_notes
from pairedit.studio.studio import Studio, at

LOCAL = {
    "as the slider's file notes": "auto",
    "only where it changes much": "true",
    "everywhere": "false",
}
# dB of the reconstruction; flux-mini's VAE alone has 35 and more on its own faces.
WORDS = ((30, "very close"), (25, "close"), (20, "recognisable"), (0, "far off"))


def build(studio: Studio) -> gr.Dropdown:
    """Lay out the tab; return its choice of a slider."""
    labels = list(studio.sliders())
    shown = gr.State(None)
    photo = gr.File(label="Photograph", height=140, elem_id="photograph")
    with gr.Row():
        slider = gr.Dropdown(labels, value=next(iter(labels), None), label="Slider", min_width=250)
        local = gr.Radio(list(LOCAL), value=next(iter(LOCAL)), label="Where it acts", min_width=250)
    said = gr.HTML(elem_id="photo-said")
    quality = gr.HTML(elem_id="quality")
    place = gr.HTML(elem_id="photo")
    more = gr.Button("More like this", size="md")
    with gr.Accordion("The same on the command line", open=False):
        command = gr.Code(
            language=None, lines=2, wrap_lines=True, label="pairedit-gen", interactive=False
        )
    position = gr.JSON(visible=False)

    def show(name: str | None, label: str, local: str) -> Iterator[tuple[Any, ...]]:
        sliders = studio.sliders()
        if not name:
            yield markup.words("Drop a photograph."), "", "", None, ""
            return
        if label not in sliders:
            yield markup.words(EMPTY), "", gr.skip(), None, gr.skip()
            return
        try:
            kept = studio.photo(name)
        except (ValueError, OSError) as error:
            yield markup.problem(str(error)), "", "", None, ""
            return
        whole = Asked(sliders=(sliders[label],), photo=kept, local=LOCAL[local]).first
        told = ""
        # First the photograph alone: whoever sees that it does not come back need not wait.
        for step in (at(whole, 0.0), whole):
            for words, html, made, command in rendered(studio, "photo", [("", step)]):
                if isinstance(made, Shown):
                    told = _quality(read_notes(made.places[0])) or told
                    words = "" if step is whole else markup.words("Now the slider is rendered.")
                yield words, told, html, made, command

    def refine(shown: Shown | None, at: Any) -> Iterator[tuple[Any, ...]]:
        if shown is not None:
            for words, html, made, command in more_of(studio, "photo", shown, at):
                yield words, gr.skip(), html, made, command

    outputs = [said, quality, place, shown, command]
    for event in (photo.change, slider.input, local.input):
        event(show, [photo, slider, local], outputs, trigger_mode="always_last", **QUICK)
    more.click(refine, [shown, position], outputs, js=POSITION.format("photo"), **QUICK)
    return slider


def _quality(notes: dict[str, Any]) -> str:
    """Say how well the photograph comes back."""
    found = notes.get("decibel") or []
    if not found:
        return ""
    word = next((word for least, word in WORDS if found[0] >= least), WORDS[-1][1])
    return markup.words(f"Reconstruction: {word} ({found[0]:.1f} dB against the photograph).")

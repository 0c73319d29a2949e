"""Own the tab that edits a photograph: first how well the model draws it again, then the slider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from pairedit.studio import markup
from pairedit.studio.play import COMMAND, EMPTY, POSITION, QUICK, Shown, more_of, rendered
from pairedit.studio.rows import Asked, read_notes
from pairedit.studio.studio import Studio

DROP = "Drop a photograph, or choose a file."
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
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=3, min_width=320):
            place = gr.HTML(elem_id="photo", padding=False)
            with gr.Row(elem_classes="actions under"):
                more = gr.Button("More like this", size="md", min_width=130)
            said = gr.HTML(markup.words(DROP), elem_id="photo-said", padding=False)
        with gr.Column(scale=2, min_width=280):
            photo = gr.File(label="Photograph", height=140, elem_id="photograph")
            quality = gr.HTML(elem_id="quality", padding=False)
            slider = gr.Dropdown(labels, value=next(iter(labels), None), label="Slider")
            local = gr.Radio(list(LOCAL), value=next(iter(LOCAL)), label="Where it acts")
            with gr.Accordion("The same on the command line", open=False):
                command = gr.Code(label="pairedit-gen", **COMMAND)
    position = gr.JSON(visible=False)

    def show(
        name: str | None, label: str, local: str, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        sliders = studio.sliders()
        if not name:
            yield markup.words(DROP), "", "", None, ""
            return
        if label not in sliders:
            yield markup.words(EMPTY), "", gr.skip(), None, gr.skip()
            return
        try:
            kept = studio.photo(name)
        except (ValueError, OSError) as error:
            yield markup.problem(str(error)), "", "", None, ""
            return
        asked = Asked(sliders=(sliders[label],), photo=kept, local=LOCAL[local]).first
        alone = studio.rows.place(asked.stages[0])
        for words, *others in rendered(studio, "photo", request, [("", Shown(asked=asked))]):
            yield words, _quality(read_notes(alone)), *others

    def refine(shown: Shown | None, at: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        for words, *others in more_of(studio, "photo", request, shown, at):
            yield words, gr.skip(), *others

    outputs = [said, quality, place, shown, command]
    for event in (photo.change, slider.input, local.input):
        event(show, [photo, slider, local], outputs, trigger_mode="multiple", **QUICK)
    more.click(refine, [shown, position], outputs, js=POSITION.format("photo"), **QUICK)
    return slider


def _quality(notes: dict[str, Any]) -> str:
    """Say how well the photograph comes back."""
    found = notes.get("decibel") or []
    if not found:
        return ""
    word = next((word for least, word in WORDS if found[0] >= least), WORDS[-1][1])
    return markup.words(f"Reconstruction: {word} ({found[0]:.1f} dB against the photograph).")

"""Own the tab to train in: pairs are judged, a training is started, watched, stopped, continued."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from pairedit.runs.looking import ASKED
from pairedit.runs.words import line
from pairedit.studio import markup
from pairedit.studio.asking import (
    FIELDS,
    METHODS,
    OWN,
    chosen_of,
    judge,
    plan_of,
    shipped,
    words_of,
)
from pairedit.studio.play import COMMAND, QUICK
from pairedit.studio.studio import Studio
from pairedit.studio.watching import current, status


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Hold the components of the tab that know of each other."""

    choice: gr.Dropdown
    drops: gr.Column
    title: gr.Textbox
    before: gr.File
    after: gr.File
    judged: gr.HTML
    sheet: gr.Image
    method: gr.Dropdown
    numbers: list[gr.Textbox]
    command: gr.Code
    start: gr.Button
    said: gr.HTML
    ask: gr.Button
    stop: gr.Button
    go_on: gr.Button
    play: gr.Button
    watch: list[Any]  # what is written anew at every look
    timer: gr.Timer
    watched: gr.State  # the folder of the training that was started here


def build(studio: Studio, tab: gr.Tab) -> tuple[gr.Timer, gr.Button, gr.State]:
    """Lay out the tab; return its timer, what plays with the slider, and which it is."""
    parts = _lay_out()
    _choose_pairs(studio, tab, parts)
    _start_and_watch(studio, tab, parts)
    return parts.timer, parts.play, parts.watched


def _lay_out() -> Parts:
    """Make the components, in the order in which they are used."""
    edits = shipped()
    usual = "smile" if "smile" in edits else OWN
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=2, min_width=280):
            choice = gr.Dropdown([OWN, *edits], value=usual, label="Learn from", elem_id="pairs")
            with gr.Column(visible=usual == OWN) as drops:
                files: dict[str, Any] = {"file_count": "multiple", "height": 130}
                before = gr.File(label="Before the edit", elem_id="before", **files)
                after = gr.File(label="After it, under the same names", elem_id="after", **files)
                title = gr.Textbox("", label="Name of the edit", max_length=60)
            method = gr.Dropdown(list(METHODS), value=next(iter(METHODS)), label="Method")
            with gr.Accordion("More", open=False, elem_id="train-more"), gr.Row():
                numbers = [
                    gr.Textbox(
                        "",
                        label=label,
                        placeholder=placeholder,
                        elem_id=name,
                        max_length=20,
                        min_width=110,
                    )
                    for name, label, placeholder, _ in FIELDS
                ]
            start = gr.Button("Start the training", variant="primary", size="md", elem_id="start")
            said = gr.HTML(elem_id="train-said", padding=False)
            command = gr.Code(
                label="The same on the command line", elem_id="train-command", **COMMAND
            )
        with gr.Column(scale=3, min_width=320):
            judged = gr.HTML(elem_id="judged", padding=False)
            shown: dict[str, Any] = {"interactive": False, "buttons": ["fullscreen"]}
            sheet = gr.Image(
                label="What the model sees", show_label=False, elem_id="sheet", **shown
            )
    watch, rest = _lay_out_watching()
    return Parts(
        choice=choice,
        drops=drops,
        title=title,
        before=before,
        after=after,
        judged=judged,
        sheet=sheet,
        method=method,
        numbers=numbers,
        command=command,
        start=start,
        said=said,
        watch=watch,
        timer=gr.Timer(1.0, active=False),
        watched=gr.State(None),
        **rest,
    )


def _lay_out_watching() -> tuple[list[Any], dict[str, gr.Button]]:
    """Make what shows a training; return what is written anew at each look, and the buttons."""
    far = gr.HTML(elem_id="status", padding=False)
    with gr.Row(elem_classes="actions"):
        hidden: dict[str, Any] = {"visible": False, "size": "md", "min_width": 130}
        buttons = {
            "ask": gr.Button("Show a row now", elem_id="look", **hidden),
            "stop": gr.Button("Stop and save", elem_id="stop", **hidden),
            "go_on": gr.Button("Go on", elem_id="go-on", **hidden),
            "play": gr.Button("Play with it", elem_id="play-trained", **hidden),
        }
    drawn: dict[str, Any] = {"visible": False, "height": 240, "min_width": 320}
    with gr.Row():
        curve = gr.LinePlot(x="step", y="loss", title="Loss", **drawn)
        effect = gr.LinePlot(x="scale", y="change", title="Edit by scale", **drawn)
    preview = gr.Gallery(
        label="While it trains",
        visible=False,
        columns=2,
        height="auto",
        object_fit="contain",
        interactive=False,
        buttons=["fullscreen"],
        elem_id="preview",
    )
    return [far, *buttons.values(), curve, effect, preview, gr.State(None)], buttons


def _choose_pairs(studio: Studio, tab: gr.Tab, parts: Parts) -> None:
    """Have pairs judged as they are chosen, and the command written."""

    def choose(choice: str, befores: Any, afters: Any) -> tuple[Any, ...]:
        if choice == OWN and not (befores and afters):
            return markup.words("Drop pictures on both sides."), None
        try:
            return judge(studio, chosen_of(studio, choice, befores, afters))
        except (ValueError, OSError) as error:
            return markup.problem(str(error)), None

    def spell(choice: str, befores: Any, afters: Any, method: str, *numbers: Any) -> str:
        try:
            chosen = chosen_of(studio, choice, befores, afters)
            return line("pairedit-train", words_of(studio, chosen, method, numbers))
        except (ValueError, OSError):
            return ""

    given = [parts.choice, parts.before, parts.after]
    asked = [*given, parts.method, *parts.numbers]
    for event in (parts.choice.input, parts.before.change, parts.after.change, tab.select):
        event(choose, given, [parts.judged, parts.sheet], **QUICK).then(
            spell, asked, parts.command, **QUICK
        )
    parts.choice.change(
        lambda choice: gr.update(visible=choice == OWN), parts.choice, parts.drops, **QUICK
    )
    for one in (parts.method, *parts.numbers):
        one.change(spell, asked, parts.command, **QUICK)


def _start_and_watch(studio: Studio, tab: gr.Tab, parts: Parts) -> None:
    """Start, watch, stop and continue."""

    def begin(
        choice: str, befores: Any, afters: Any, title: str, method: str, *numbers: Any
    ) -> tuple[Any, ...]:
        # What is chosen now, whatever was judged last: answers may come in another order.
        try:
            chosen = chosen_of(studio, choice, befores, afters)
            plan_of(studio, chosen, method, numbers)
        except (ValueError, OSError) as error:
            return markup.problem(str(error)), gr.skip()
        words = words_of(studio, chosen, method, numbers)
        place = studio.desk.add(words, title=title.strip() if chosen.dropped else "")
        behind = studio.desk.ahead(place)
        wait = f"It waits for {behind} other{'s' * (behind > 1)}." if behind else "It starts."
        return markup.words(f"{wait} Its folder is {place}."), str(place)

    def ask(watched: str | None) -> str:
        run = current(studio, watched)
        if run is None or run.state != "running":
            return markup.words("Nothing is at work.")
        (run.run / ASKED).touch()
        return markup.words("A row is rendered after the step it is in.")

    def halt(watched: str | None) -> str:
        run = current(studio, watched)
        if run is None or not studio.desk.stop(run.run):
            return markup.words("Nothing is at work.")
        return markup.words("It saves and stops after the step it is in.")

    def resume(watched: str | None) -> str:
        try:
            studio.go_on(current(studio, watched))
        except (ValueError, OSError) as error:
            return markup.problem(str(error))
        return markup.words("It goes on from its last checkpoint.")

    asked = [parts.choice, parts.before, parts.after, parts.title, parts.method, *parts.numbers]
    looks = (partial(status, studio), [parts.watched, parts.watch[-1]], parts.watch)
    parts.start.click(begin, asked, [parts.said, parts.watched], **QUICK).then(*looks, **QUICK)
    parts.ask.click(ask, parts.watched, parts.said, **QUICK)
    parts.stop.click(halt, parts.watched, parts.said, **QUICK)
    parts.go_on.click(resume, parts.watched, parts.said, **QUICK)
    parts.timer.tick(*looks, **QUICK)
    tab.select(*looks, **QUICK)

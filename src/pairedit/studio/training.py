"""Own the tab to train in: pairs are judged, a training is started, watched, stopped, continued."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from pairedit.runs.looking import ASKED
from pairedit.runs.words import line, quoted_path
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
from pairedit.studio.desk import has_begun
from pairedit.studio.play import QUICK
from pairedit.studio.studio import Studio
from pairedit.studio.watching import current, status


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Hold the components of the tab that know of each other."""

    choice: gr.Dropdown
    drops: gr.Row
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
    watch: list[Any]  # what is written anew at every look
    timer: gr.Timer
    watched: gr.State  # the folder of the training that was started here


def build(studio: Studio, tab: gr.Tab) -> gr.Timer:
    """Lay out the tab; return the timer that it needs while it is looked at."""
    parts = _lay_out()
    _choose_pairs(studio, tab, parts)
    _start_and_watch(studio, tab, parts)
    return parts.timer


def _lay_out() -> Parts:
    """Make the components, in the order in which they are used."""
    edits = shipped()
    usual = "smile" if "smile" in edits else OWN
    choice = gr.Dropdown([OWN, *edits], value=usual, label="Learn from", elem_id="pairs")
    with gr.Row(visible=usual == OWN) as drops:
        title = gr.Textbox("", label="Name", placeholder="of the edit", max_length=60)
        files: dict[str, Any] = {"file_count": "multiple", "height": 160}
        before = gr.File(label="Before the edit", elem_id="before", **files)
        after = gr.File(label="After the edit, of the same names", elem_id="after", **files)
    judged = gr.HTML(elem_id="judged")
    shown: dict[str, Any] = {"interactive": False, "buttons": ["fullscreen"]}
    sheet = gr.Image(label="What the model sees", elem_id="sheet", **shown)
    method = gr.Dropdown(list(METHODS), value=next(iter(METHODS)), label="Method")
    with gr.Accordion("More", open=False, elem_id="train-more"), gr.Row():
        numbers = [
            gr.Textbox("", label=label, placeholder=usual, elem_id=name, max_length=20)
            for name, label, usual, _ in FIELDS
        ]
    command = gr.Code(
        language=None,
        lines=2,
        wrap_lines=True,
        label="The same on the command line",
        interactive=False,
    )
    start = gr.Button("Start the training", variant="primary", size="md", elem_id="start")
    said = gr.HTML(elem_id="train-said")
    far = gr.HTML(elem_id="status")
    with gr.Row():
        ask = gr.Button("Show a row now", size="md", visible=False, elem_id="look")
        stop = gr.Button("Stop and save", size="md", visible=False, elem_id="stop")
        go_on = gr.Button("Go on", size="md", visible=False, elem_id="go-on")
    hidden: dict[str, Any] = {"visible": False, "height": 240, "min_width": 320}
    with gr.Row():
        curve = gr.LinePlot(x="step", y="loss", title="Loss", **hidden)
        effect = gr.LinePlot(x="scale", y="change", title="Edit by scale", **hidden)
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
        ask=ask,
        stop=stop,
        go_on=go_on,
        watch=[far, ask, stop, go_on, curve, effect, preview, gr.State(None)],
        timer=gr.Timer(1.0, active=False),
        watched=gr.State(None),
    )


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
        behind = len(studio.shelf.waiting()) + (studio.desk.busy() is not None)
        words = words_of(studio, chosen, method, numbers)
        place = studio.desk.add(words, title=title.strip() if chosen.dropped else "")
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
        run = current(studio, watched)
        if run is None or run.state not in ("stopped", "failed") or not has_begun(run.run):
            return markup.problem("There is nothing to go on with.")
        studio.desk.add([f"resume={quoted_path(run.run)}"], run.run)
        return markup.words("It goes on from its last checkpoint.")

    asked = [parts.choice, parts.before, parts.after, parts.title, parts.method, *parts.numbers]
    looks = (partial(status, studio), [parts.watched, parts.watch[-1]], parts.watch)
    parts.start.click(begin, asked, [parts.said, parts.watched], **QUICK).then(*looks, **QUICK)
    parts.ask.click(ask, parts.watched, parts.said, **QUICK)
    parts.stop.click(halt, parts.watched, parts.said, **QUICK)
    parts.go_on.click(resume, parts.watched, parts.said, **QUICK)
    parts.timer.tick(*looks, **QUICK)
    tab.select(*looks, **QUICK)

"""Own the tab to play in: a row of one person, dragged over its strength."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from pairedit.studio import markup
from pairedit.studio.rows import Asked, Picture, finer
from pairedit.studio.studio import NONE, Studio

# Nothing turns grey while the page waits, and programs cannot call these events.
QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
MOST_SEEDS = 2**31 - 1
POSITION = "(...given) => [...given.slice(0, -1), window.pairedit.position('{}')]"
EMPTY = "There is no slider of this base model yet. Train one in the next tab."
SHIPPED = "These pictures ship with the slider. Whatever else you choose is rendered here."
EARLY = "Wait until all pictures of this row are there."
SAME = [gr.skip()] * 4
COMMAND: dict[str, Any] = {"language": None, "lines": 1, "wrap_lines": True, "interactive": False}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Hold what a row on the page was made of; of one browser's tab."""

    asked: Asked
    finer: tuple[Asked, ...] = ()  # rows between its pictures

    @property
    def rows(self) -> tuple[Asked, ...]:
        """Return all rows, in the order in which they are rendered."""
        return (*self.asked.stages, *self.finer)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Hold the components of the tab that know of each other."""

    slider: gr.Dropdown
    second: gr.Dropdown
    seed: gr.Number
    prompt: gr.Textbox
    said: gr.HTML
    place: gr.HTML
    before: gr.Button
    after: gr.Button
    more: gr.Button
    command: gr.Code
    at: gr.JSON
    shown: gr.State
    kept: gr.BrowserState  # the choices, for a reload


def build(studio: Studio, blocks: gr.Blocks) -> tuple[Any, list[Any], list[Any]]:
    """Lay out the tab; return what shows a row, its inputs with the slider first, its outputs."""
    parts = _lay_out(studio)
    choices = [parts.slider, parts.second, parts.seed, parts.prompt]
    outputs = [parts.said, parts.place, parts.shown, parts.command]

    def show(
        label: str, other: str, seed: float, prompt: str, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        asked = _asked(studio, label, other, seed, prompt)
        if asked is None:
            yield markup.words(EMPTY), gr.skip(), None, gr.skip()
            return
        yield from rendered(studio, "play", request, [("", Shown(asked=asked))])

    def leave(
        label: str, other: str, seed: float, prompt: str, shown: Shown | None, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        # Who leaves a field as it was has asked for nothing.
        if shown is not None and shown.asked == _asked(studio, label, other, seed, prompt):
            yield tuple(SAME)
            return
        yield from show(label, other, seed, prompt, request)

    def refine(shown: Shown | None, at: Any, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        yield from more_of(studio, "play", request, shown, at)

    def restore(kept: Any) -> tuple[Any, ...]:
        return _restored(studio, kept)

    def keep(*given: Any) -> list[Any]:
        return list(given)

    def walk(seed: float, by: int) -> int:
        return min(max(int(seed or 0) + by, 0), MOST_SEEDS)

    # All at once: what is no longer wanted ends by itself; see `Studio.look`.
    always: dict[str, Any] = {**QUICK, "trigger_mode": "multiple"}
    blocks.load(restore, parts.kept, choices, **QUICK).then(show, choices, outputs, **always)
    for event in (parts.slider.input, parts.second.input):
        event(show, choices, outputs, **always)
    for field in (parts.prompt, parts.seed):
        for event in (field.submit, field.blur):
            event(leave, [*choices, parts.shown], outputs, **always)
    for event in (parts.slider.change, parts.second.change, parts.seed.change, parts.prompt.blur):
        event(keep, choices, parts.kept, **QUICK)
    for button, by in ((parts.before, -1), (parts.after, 1)):
        button.click(lambda seed, by=by: walk(seed, by), parts.seed, parts.seed, **QUICK).then(
            show, choices, outputs, **always
        )
    js = POSITION.format("play")
    parts.more.click(refine, [parts.shown, parts.at], outputs, js=js, **QUICK)
    return show, choices, outputs


def _lay_out(studio: Studio) -> Parts:
    """Make the components: the picture on one side, what it is of on the other."""
    labels = list(studio.sliders())
    with gr.Row(elem_classes="sides"):
        with gr.Column(scale=3, min_width=320):
            place = gr.HTML(elem_id="play", padding=False)
            with gr.Row(elem_classes="actions under"):
                small: dict[str, Any] = {"size": "md", "min_width": 130}
                before = gr.Button("Previous person", elem_id="previous-person", **small)
                after = gr.Button("Next person", elem_id="next-person", **small)
                more = gr.Button("More like this", elem_id="more", **small)
            said = gr.HTML(elem_id="play-said", padding=False)
        with gr.Column(scale=2, min_width=280):
            slider = gr.Dropdown(
                labels, value=_usual(labels), label="Slider", elem_id="play-slider"
            )
            second = gr.Dropdown([NONE, *labels], value=NONE, label="Second slider, for a pad")
            seed = gr.Number(0, label="Person (seed)", precision=0, minimum=0, maximum=MOST_SEEDS)
            prompt = gr.Textbox(
                "", label="Prompt", placeholder=studio.plan.model.prompt, max_length=500
            )
            with gr.Accordion("The same on the command line", open=False):
                command = gr.Code(label="pairedit-gen", **COMMAND)
    return Parts(
        slider=slider,
        second=second,
        seed=seed,
        prompt=prompt,
        said=said,
        place=place,
        before=before,
        after=after,
        more=more,
        command=command,
        at=gr.JSON(visible=False),
        shown=gr.State(None),
        kept=gr.BrowserState(None, storage_key="pairedit-studio", secret="pairedit"),  # no secret
    )


def _asked(studio: Studio, label: str, other: str, seed: float, prompt: str) -> Asked | None:
    """Say what is asked for; None where there is no such slider."""
    sliders = studio.sliders()
    if label not in sliders:
        return None
    chosen = [sliders[name] for name in (label, other) if name in sliders]
    return Asked(sliders=tuple(chosen), seed=int(seed or 0), prompt=prompt.strip() or None).first


def _usual(labels: Sequence[str]) -> str | None:
    """Choose the slider that is shown first; see `Studio.first`."""
    first = next((label for label in labels if label.endswith("(shipped)")), None)
    return first or next(iter(labels), None)


def _restored(studio: Studio, kept: Any) -> tuple[Any, ...]:
    """Choose again what was chosen before a reload, as far as it is still there."""
    labels = list(studio.sliders())
    label, second, seed, prompt = _usual(labels), NONE, 0, ""
    # The browser's storage may hold anything.
    with suppress(TypeError, ValueError):
        old, other, number, text = kept
        label = old if old in labels else label
        second = other if other in labels else NONE
        seed = min(max(int(number), 0), MOST_SEEDS)
        prompt = text if isinstance(text, str) else ""
    return (
        gr.update(choices=labels, value=label),
        gr.update(choices=[NONE, *labels], value=second),
        seed,
        prompt,
    )


def rendered(
    studio: Studio,
    key: str,
    request: gr.Request,
    panes: Sequence[tuple[str, Shown]],
    before: Shown | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Render rows; yield what to say, the element, what it was made of, and the command.

    Args:
        studio: renders them.
        key: of the element.
        request: of a tab of a browser, which waits for one thing at a time.
        panes: a title and what is shown, side by side.
        before: what is there if this cannot be rendered.
    """
    wanted = studio.look(f"{request.session_hash} {key}")
    shown = panes[0][1]
    rows = [row for _, pane in panes for row in (pane.asked, *pane.finer)]
    command = "\n".join(studio.rows.command(row, studio.plan.words) for row in rows)
    count = sum(_count(row) for _, pane in panes for row in pane.rows)
    started, seen = time.monotonic(), -1
    # Until all is there, nothing can be asked of it.
    yield gr.skip(), gr.skip(), None, command
    try:
        places: list[list[Any]] = [[] for _ in panes]
        for part in zip(*(pane.rows for _, pane in panes), strict=True):
            for k, row in enumerate(part):
                places[k].append(studio.rows.place(row))
                for _ in studio.rendered(row, wanted):
                    if not wanted():
                        yield tuple(SAME)
                        return
                    found = [studio.rows.pictures(there) for there in places]
                    there = sum(map(len, found))
                    html = gr.skip()
                    if there > seen and all(_is_worth_it(shown.asked, each) for each in found):
                        html, seen = _element(key, shown, panes, found), there
                    seconds = time.monotonic() - started
                    words = markup.words(studio.meanwhile(there, count, seconds))
                    yield words, html, gr.skip(), gr.skip()
    except (ValueError, OSError) as error:
        yield markup.problem(str(error)), gr.skip(), before, command
        return
    if not wanted():
        yield tuple(SAME)
        return
    found = [studio.rows.pictures(there) for there in places]
    ships = any(studio.rows.have_shipped(there) for there in places)
    yield markup.words(SHIPPED) if ships else "", _element(key, shown, panes, found), shown, command
    studio.warm()


def _count(row: Asked) -> int:
    """Count the pictures of a row."""
    return len(row.positions) ** (2 if row.is_pad else 1)


def _is_worth_it(asked: Asked, pictures: Sequence[Picture]) -> bool:
    """Say whether there is something to see yet: an original, and what becomes of it."""
    there = any(not any(picture.at) for picture in pictures)
    return there and (len(pictures) > 1 or asked.photo is not None)


def _element(
    key: str,
    shown: Shown,
    panes: Sequence[tuple[str, Shown]],
    found: Sequence[Sequence[Picture]],
) -> str:
    titles = [title for title, _ in panes]
    return markup.row(key, shown.asked, list(zip(titles, found, strict=True)))


def more_of(
    studio: Studio, key: str, request: gr.Request, shown: Shown | None, at: Any
) -> Iterator[tuple[Any, ...]]:
    """Render finer positions around one, and add them to a row."""
    if shown is None:
        yield markup.words(EARLY), *SAME[1:]
        return
    if shown.asked.is_pad:
        yield markup.words("A pad has no finer pictures; choose one slider."), *SAME[1:]
        return
    there = [place for row in shown.rows for place in row.positions]
    positions = finer(there, float(at[0]) if isinstance(at, list) and at else 0.0)
    if not positions:
        yield markup.words("There are no finer steps between these pictures."), *SAME[1:]
        return
    more = replace(shown.asked, positions=positions)
    finest = replace(shown, finer=(*shown.finer, more))
    yield from rendered(studio, key, request, [("", finest)], shown)

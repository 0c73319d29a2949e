"""Own what the page says about a training: all comes from its folder, so a reload shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from pairedit.studio import markup
from pairedit.studio.shelf import Run, losses
from pairedit.studio.studio import Studio, can_go_on


def current(studio: Studio, watched: str | None) -> Run | None:
    """Return the training that is looked at: what was started here, at work, or the last."""
    runs = list(studio.shelf.runs().values())
    mine = [run for run in runs if watched and str(run.run) == watched]
    busy = [run for run in runs if run.run == studio.desk.busy()]
    run = next(iter([*mine, *busy, *runs]), None)
    if run and run in busy and run.state in ("waiting", "stopped", "failed"):
        return replace(run, state="starting")
    return run


def status(studio: Studio, watched: str | None, seen: str | None) -> tuple[Any, ...]:
    """Write how far the training is that is looked at, and what waits.

    Args:
        studio: what it is read from.
        watched: the folder of the training that was started in this tab of the browser.
        seen: what its plots and pictures show already, as the last value of the last time.
    """
    hidden = gr.update(visible=False)
    run = current(studio, watched)
    if run is None:
        return markup.words("No training yet."), *[hidden] * 7, None
    waiting = studio.desk.waiting()
    html = markup.progress(f"{run.name}: {run.state}", _share(run), _sentence(studio, run))
    if others := [place.name for place in waiting if place != run.run]:
        html += markup.words(f"Waiting for their turn: {', '.join(others)}")
    points = losses(run.folder / "metrics.jsonl")
    pictures = _previews(run)
    buttons = (
        gr.update(visible=run.state == "running" and bool(run.step)),
        gr.update(visible=run.state in ("running", "waiting", "starting")),
        gr.update(visible=can_go_on(run)),
        gr.update(visible=run.state == "done" and run.slider is not None),
    )
    shown = f"{run.key} {len(points)} {bool(run.report)} {len(pictures)}"
    if shown == seen:
        return html, *buttons, *[gr.skip()] * 3, seen
    return (
        html,
        *buttons,
        _plot(points, ("step", "loss")),
        _plot(_edit(run), ("scale", "change")),
        gr.update(value=pictures, visible=True) if pictures else hidden,
        shown,
    )


def _share(run: Run) -> float:
    """Return how much of a training is done."""
    if run.state == "done":
        return 1.0
    return run.step / run.steps if run.steps else 0.0


def _sentence(studio: Studio, run: Run) -> str:
    """Say how far a training is, in a sentence."""
    if run.state == "waiting":
        return "Another job is at work. This one starts when that one ends."
    if run.state == "failed":
        text = (run.run / "output.txt").read_text(encoding="utf-8", errors="replace")
        return text.strip()[-2000:] or "It ended without a message."
    far = f"Step {run.step} of {run.steps}."
    if run.state == "stopped":
        return f"{far} It can go on from its last checkpoint."
    if run.state == "done":
        advice = run.report.get("advice")
        return f"Verdict: {run.verdict}{f'. {advice}' if advice else ''}. The slider is ready."
    if not run.step or run.state == "starting":
        return "It reads the model and the pairs."
    rate = run.step / max(run.seconds, 1e-6)
    left = max(run.steps - run.step, 0) / rate
    if run.step >= run.steps:
        return "All steps are done. Now it finds out how the slider is best used, and measures it."
    return f"{far} {rate:.1f} steps a second, about {left:.0f} s left."


def _previews(run: Run) -> list[tuple[str, str]]:
    """Return the pictures that show how far a training is, the newest first, with captions."""
    rows = sorted((run.folder / "previews").glob("[!.]*.png"), reverse=True)
    found = [(str(path), f"after {path.stem.lstrip('0')} steps") for path in rows]
    last = run.folder / "preview.png"
    return [(str(last), "at the end"), *found] if last.is_file() else found


def _edit(run: Run) -> list[tuple[float, float]]:
    """Return how far the edit goes at each scale, by the report."""
    measures = run.report.get("measures") or {}
    values = measures.get("target") or measures.get("image change") or []
    scales = run.report.get("scales") or []
    return [(s, v) for s, v in zip(scales, values, strict=False) if v is not None]


def _plot(points: Sequence[tuple[float, float]], names: tuple[str, str]) -> Any:
    """Fill a plot, or hide it while there is nothing to see."""
    import pandas

    if len(points) < 2:
        # Not removed: it may be drawing the points of another run.
        return gr.update(visible="hidden")
    table = pandas.DataFrame(points, columns=list(names))
    return gr.update(value=table, visible=True)

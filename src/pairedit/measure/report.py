"""Own the report: one HTML file that opens offline, with every table, curve and sheet inside.

Nothing is loaded from elsewhere: styles are inline, pictures are data URLs, there is no script.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

import pairedit
from pairedit.files import replacing
from pairedit.measure.evaluate import Result
from pairedit.measure.families import comparisons, leading
from pairedit.measure.grids import grid_png
from pairedit.measure.measures import MEASURES
from pairedit.measure.table import comparable, heads, moved, named, table
from pairedit.measure.verdict import NAME_IT

STYLE = """
:root { color-scheme: light dark; --ink: #18181b; --quiet: #52525b; --paper: #fff; --line: #e4e4e7;
  --good: #166534; --bad: #b91c1c; --soft: #a16207; }
@media (prefers-color-scheme: dark) { :root { --ink: #f4f4f5; --quiet: #a1a1aa; --paper: #18181b;
  --line: #3f3f46; --good: #86efac; --bad: #fca5a5; --soft: #fde047; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p, li { max-width: 46rem; } .quiet, figcaption, dd { color: var(--quiet); font-size: .875rem; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; }
th { color: var(--quiet); font-weight: 600; }
th[scope=row] { position: sticky; left: 0; background: var(--paper); color: var(--ink); }
.works { color: var(--good); } .no-op, .destructive, .reversed, .off, .unlike { color: var(--bad); }
.weak { color: var(--soft); } .works, .no-op, .destructive, .reversed, .off, .unlike, .weak {
  font-weight: 600; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1rem; }
figure { margin: .75rem 0; } img { max-width: 100%; height: auto; background: #fff; }
.sheet img { max-width: none; } @media (max-width: 40rem) { .sheet img { max-width: 38rem; } }
details { margin: .5rem 0; } summary { cursor: pointer; }
.matrix td { text-align: center; min-width: 2.4rem; padding: .2rem; }
.matrix td.own { outline: 2px solid var(--ink); outline-offset: -2px; }
.matrix th[scope=col] { vertical-align: bottom; } .matrix th[scope=col] span {
  writing-mode: vertical-rl; transform: rotate(180deg); }
dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0; }
"""


def write_report(
    path: Path,
    groups: Mapping[str, Sequence[Result]],
    *,
    sheets: Mapping[str, Image.Image],
    curves: Mapping[str, Sequence[Image.Image]],
    settings: Mapping[str, Any],
    notes: Sequence[str],
) -> None:
    """Write the report of one evaluation.

    Args:
        path: the file to write.
        groups: results by edit, in order.
        sheets: one picture for each edit, its sliders side by side.
        curves: the panels of each edit.
        settings: how images were rendered.
        notes: what the reader should know.
    """
    results = [result for group in groups.values() for result in group]
    title = ", ".join(groups)
    parts = [
        f"<h1>Sliders: {escape(title)}</h1>",
        f"<p class=quiet>{escape(_describe(settings))}</p>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        _overview(results, settings["match"]),
        _differences(results),
        _advice(results),
    ]
    for edit, group in groups.items():
        parts.append(f"<h2>{escape(edit)}</h2>")
        parts.append(_figure(webp(sheets[edit]), _sheet_caption(group), "sheet wide"))
        panels = "".join(_figure(_png(panel), "") for panel in curves[edit])
        if grid := grid_png(group):
            panels += _figure(grid, "")
        parts.append(f"<div class=panels>{panels}</div>")
        for result in group:
            label = result.subject.label
            parts.append(
                f"<details><summary>{escape(label)}: all scales, all measures</summary>"
                + _figure(result.strip, "", "sheet wide")
                + _measures(result)
                + "</details>"
            )
    parts += [_matrix(results), _missing(results), _definitions()]
    with replacing(path) as temporary:
        temporary.write_text(
            "<!doctype html>\n<html lang=en><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>{escape(title)}: pairedit-eval</title><style>{STYLE}</style>\n"
            + "\n".join(parts)
            + "\n</html>\n",
            encoding="utf-8",
        )


def _describe(settings: Mapping[str, Any]) -> str:
    """Say in one line how the images were made."""
    seeds, prompts = settings["seeds"], settings["prompts"]
    run = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else str(seeds[0])
    return (
        f"{settings['model']}, {len(seeds)} seeds ({run}), "
        + (f"prompt “{prompts[0]}”" if len(prompts) == 1 else f"{len(prompts)} prompts")
        + f", {settings['num_inference_steps']} steps, "
        f"{settings['resolution']} px; in brackets 95 % bootstrap intervals; "
        f"pairedit {pairedit.__version__}"
    )


def _overview(results: Sequence[Result], match: float) -> str:
    """Write the table of all sliders."""
    edit, label, *others = heads()
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in (label, edit, *others))
    body = ""
    for row in table(results):
        edit, label, verdict, *rest = row
        body += (
            f"<tr><th scope=row>{escape(label)}</th><td>{escape(edit)}</td>"
            f"<td class='{escape(verdict.split()[0])}'>{escape(verdict)}</td>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
            + "</tr>"
        )
    return (
        f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"
        "<p class=quiet><b>at most</b>: largest effect before identity is lost; 100 % is what the "
        "pairs show. <b>one pair at</b>: the scale that is worth as much. <b>off-target</b> (mean "
        "change of all other attributes) and <b>identity</b> (1: half-way to a stranger) are read "
        f"where a slider reaches {100 * match:.0f} % of a pair's worth, because a weak edit "
        "always preserves well.</p>"
    )


def _differences(results: Sequence[Result]) -> str:
    """Say which settings differ, where several trainings of each allow to tell."""
    items = "".join(f"<li>{escape(text)}</li>" for text in comparisons(results))
    note = "± is the standard deviation over the trainings of one row, which differ in their seeds."
    return f"<p class=quiet>{note}</p><ul>{items}</ul>" if items else ""


def _advice(results: Sequence[Result]) -> str:
    """Write what to do about sliders that do not work, by verdict, and what was guessed."""
    by_verdict: dict[str, list[Result]] = {}
    for result in results:
        if result.verdict.advice:
            by_verdict.setdefault(result.verdict.name, []).append(result)
    items = "".join(
        f"<li><b class='{name}'>{name}</b> "
        + escape(", ".join(f"{r.subject.label} on {r.subject.dataset}" for r in group))
        + f": {escape(group[0].verdict.advice)}.</li>"
        for name, group in by_verdict.items()
    )
    items += "".join(
        f"<li>{escape(r.subject.label)} on {escape(r.subject.dataset)} is measured by "
        f"{escape(named(r.seen))}: {NAME_IT}.</li>"
        for r in results
        if r.seen.guessed
    )
    return f"<ul>{items}</ul>" if items else ""


def _sheet_caption(group: Sequence[Result]) -> str:
    """Say at which strength a sheet shows its sliders."""
    if len(group) == 1:
        return "Rows are seeds, columns scales; 0 is the base model."
    shown = leading(group)
    late = [r.subject.label for r in shown if not comparable(r)[1]]
    text = "Rows are seeds. Every slider at the scale where it is as strong as the others."
    if len(shown) < len(group):
        text += f" The {len(shown)} of {len(group)} that move least beside the edit are shown."
    return text + (f" Too weak for that, at its best instead: {', '.join(late)}." if late else "")


def _measures(result: Result) -> str:
    """Write every measure of one slider."""
    scales = result.seen.scales
    heads = "".join(f"<th scope=col>{scale:g}</th>" for scale in scales)
    curves = singles = ""
    for measured, summary in result.summaries.items():
        name = measured.name
        ends = zip(summary.low.reshape(-1), summary.high.reshape(-1), strict=True)
        cells = [
            f"<td title='{float(low):.3f} to {float(high):.3f}'>{_number(float(mean))}</td>"
            for mean, (low, high) in zip(summary.mean.reshape(-1), ends, strict=True)
        ]
        if summary.mean.ndim:
            curves += f"<tr><th scope=row>{escape(name)}</th>{''.join(cells)}</tr>"
        else:
            span = f"{_number(float(summary.low))} … {_number(float(summary.high))}"
            singles += f"<tr><th scope=row>{escape(name)}</th>{cells[0]}<td>{span}</td></tr>"
    return (
        f"<div class=wide><table><tr><th scope=col>scale</th>{heads}</tr>{curves}</table></div>"
        f"<div class=wide><table>{singles}</table></div>"
    )


def _matrix(results: Sequence[Result]) -> str:
    """Write what every slider did to every attribute, as a table with coloured cells."""
    known = [(result, moved(result)) for result in results]
    known = [(result, change) for result, change in known if change]
    if not known:
        return ""
    names = list(known[0][1])
    heads = "".join(f"<th scope=col><span>{escape(name)}</span></th>" for name in names)
    body = ""
    for result, change in known:
        cells = ""
        for name, value in change.items():
            colour = "0, 114, 178" if value > 0 else "213, 94, 0"
            own = " class=own" if name == result.seen.attribute else ""
            strength = min(abs(value) / 0.5, 1)
            text = f"{100 * value:+.0f}" if abs(value) >= 0.045 else ""
            cells += f"<td{own} style='background: rgba({colour}, {strength:.2f})'>{text}</td>"
        label = f"{result.subject.label}, {result.subject.dataset}"
        body += f"<tr><th scope=row>{escape(label)}</th>{cells}</tr>"
    return (
        "<h2>What moved</h2><p class=quiet>Mean change of every attribute at matched strength (or "
        "at best), in percent of its range; framed is the edited one. Below 5 the number is left "
        f"out.</p><div class=wide><table class=matrix><tr><th></th>{heads}</tr>{body}</table></div>"
    )


def _missing(results: Sequence[Result]) -> str:
    """Write which measures could not run, and why."""
    reasons: dict[str, set[str]] = {}
    for result in results:
        for measured, why in result.missing.items():
            reasons.setdefault(why, set()).add(measured.name)
    items = "".join(
        f"<li>{escape(', '.join(sorted(names)))}: {escape(why)}</li>"
        for why, names in reasons.items()
    )
    return f"<h2>Not measured</h2><ul class=quiet>{items}</ul>" if items else ""


def _definitions() -> str:
    """Write what each measure means."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(measured.meaning)}</dd>"
        for name, measured in MEASURES.items()
    )
    return f"<details><summary>What the measures mean</summary><dl>{items}</dl></details>"


def _figure(picture: bytes, caption: str, kind: str = "") -> str:
    """Write a picture as a data URL."""
    mime = "png" if picture.startswith(b"\x89PNG") else "webp"
    url = f"data:image/{mime};base64,{base64.b64encode(picture).decode()}"
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure class='{kind}'><img alt='{escape(caption)}' src='{url}'>{text}</figure>"


def webp(image: Image.Image) -> bytes:
    """Compress a sheet."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=90, method=4)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    """Compress a drawing, of which nothing is to be lost."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) != float("inf") and value == value else "–"

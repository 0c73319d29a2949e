"""Own the few pieces of HTML that the page writes itself; all else are Gradio's components."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from pairedit.studio.rows import Asked, Picture

PEOPLE = "play"  # the key of rows that have a next person
UNKNOWN = "LoRA scale: the slider was not calibrated, so it begins at a guess"
ROUTE = "gradio_api/file="


def row(key: str, asked: Asked, panes: Sequence[tuple[str, Sequence[Picture]]]) -> str:
    """Write the element of element.js with its pictures.

    Args:
        key: rows of one key share where their slider is.
        asked: what is shown.
        panes: a title and pictures for each picture side by side.
    """
    data = {
        "key": key,
        "people": key == PEOPLE,
        "axes": [_axis(asked, k) for k in range(len(asked.sliders))],
        "panes": [
            {
                "title": title,
                "pictures": [
                    {"at": list(p.at), "src": ROUTE + quote(str(p.path)), "note": p.note}
                    for p in pictures
                ],
            }
            for title, pictures in panes
        ],
    }
    return f'<pairedit-row data="{escape(json.dumps(data))}"></pairedit-row>'


def _axis(asked: Asked, k: int) -> dict[str, object]:
    """Describe one slider: its whole range, although not all of it may be rendered yet."""
    label = asked.sliders[k].label
    ticks: list[tuple[float, str]] = [(0, "original")]
    if asked.calibrated:
        ticks += [(1, "as in the pairs"), (2, "twice"), (-1, "opposite")]
        note, words = "1 is as much as the pairs show", "times as much as the pairs show"
    else:
        note, words = UNKNOWN, "as LoRA scale"
    return {
        "label": label,
        "note": note,
        "words": words,
        "ticks": ticks,
        "start": asked.start,
        "range": [min(asked.positions), max(asked.positions)],
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of texts; the first column names the rows."""
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in others)
        + "</tr>"
        for first, *others in rows
    )
    return f'<div class="table"><table><tr>{heads}</tr>{body}</table></div>'


def words(text: str, kind: str = "said") -> str:
    """Write plain text of several lines, whatever letters are in it."""
    lines = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines() if line.strip())
    return f'<div class="{kind}" role="status">{lines}</div>'


def problem(text: str) -> str:
    """Write what is wrong."""
    return words(text, "problem")


def progress(title: str, share: float, text: str) -> str:
    """Write a progress bar with words beside it."""
    percent = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<div class="progress"><b>{escape(title)}</b>'
        f'<progress max="100" value="{percent}" aria-label="{escape(title)}">{percent} %</progress>'
        f'<div role="status">{escape(text)}</div></div>'
    )

"""Own how a run is told in the library: a picture, a caption, what was measured."""

from __future__ import annotations

from pathlib import Path

from pairedit.studio import markup
from pairedit.studio.shelf import Run

# Columns of the table of a run, by the measures of its report.
MEASURES = {
    "target": "the edit",
    "off-target": "everything else",
    "share of a pair": "share of a pair",
    "image change": "the picture",
}


def picture_of(run: Run) -> Path | None:
    """Return the picture that stands for a run."""
    names = (run.folder / name for name in ("preview.png", "pairs.png"))
    return next((path for path in names if path.is_file()), None)


def caption(run: Run) -> str:
    """Write a run in a line."""
    parts = (run.name, run.verdict, run.base, f"{run.when:%d %b %H:%M}")
    return " · ".join(part for part in parts if part)


def describe(run: Run) -> str:
    """Say what is known of a run."""
    lines = [caption(run), f"Step {run.step} of {run.steps}. Method: {run.method or 'unknown'}."]
    if advice := run.report.get("advice"):
        lines.append(f"Advice: {advice}")
    lines.append(f"Folder: {run.folder}")
    return markup.words("\n".join(lines)) + _measured(run)


def _measured(run: Run) -> str:
    """Write what the report measured as a table, a row for each scale."""
    scales = run.report.get("scales") or []
    measures = run.report.get("measures") or {}
    columns = {
        words: measures[name]
        for name, words in MEASURES.items()
        if isinstance(measures.get(name), list) and len(measures[name]) == len(scales)
    }
    if not columns:
        return ""
    rows = [
        [
            f"{scale:g}",
            *("" if column[k] is None else f"{column[k]:.2f}" for column in columns.values()),
        ]
        for k, scale in enumerate(scales)
    ]
    return markup.table(["scale", *columns], rows)

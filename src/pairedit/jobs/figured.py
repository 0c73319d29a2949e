"""Own what a model card says was measured: the figures of an evaluation, and what they allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pairedit.measure import measures
from pairedit.measure.measures import MEASURES
from pairedit.plan.card import Card
from pairedit.plan.recipe import mapping
from pairedit.settings import scale_text


def usable(figures: Mapping[str, Any]) -> str | None:
    """Say between which scales a slider that works is of use, as far as an evaluation saw."""
    known = mapping(figures.get("measures"))
    if figures.get("verdict") != "works":
        return None
    start, end = (
        mapping(known.get(measured.name)).get("mean")
        for measured in (measures.usable_from, measures.usable_to)
    )
    if start is None:
        return None
    if end is None:
        last = max(figures.get("scales") or [0])
        ends = f"They end nowhere up to {last:g}."
        if figures.get("attribute") is None:
            ends = "Nothing has read where they end."
        return f"Usable scales begin at {scale_text(start)}. {ends}"
    go = f"Usable scales go from {scale_text(start)} to {scale_text(end)}."
    return f"{go} From there on it is another person."


def figured(card: Card) -> Iterator[str]:
    """Write what an evaluation, or the end of the training, has measured."""
    known = mapping(card.figures or card.verdict)
    if not known:
        return
    yield "## What was measured"
    attribute = known.get("attribute")
    read = f" The edited attribute is {attribute}." if attribute else ""
    if card.figures is None:
        seeds, scales = known.get("seeds") or [], known.get("scales") or []
        yield (
            f"A short look at the end of the training, at {len(seeds)} seed"
            f"{'s' * (len(seeds) != 1)} and scales up to {max(scales, default=0):g}. "
            f"Verdict: **{known.get('verdict')}**.{read} Nothing else was measured."
        )
        return
    settings, rows = mapping(known.get("settings")), list(_rows(known))
    count = len(settings.get("seeds") or [])
    sure = f"There is no interval of so few seeds ({count})."
    if any(interval for *_, interval, _ in rows):
        sure = "In brackets are 95 % intervals."
    yield (
        f"`pairedit-eval` rendered {count} seeds of "
        f"{settings.get('model')}{' with `flowedit=true`' * bool(known.get('flowedit'))}. "
        f"Verdict: **{known.get('verdict')}**.{read} {sure}"
    )
    yield "\n".join(["| measure | value | meaning |", "|---|---|---|", *map(_line, rows)])


def _rows(known: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """List each measure of a single number: its name, value, interval and meaning."""
    ends = (measures.usable_from, measures.usable_to)
    for measured in MEASURES.values():
        values = mapping(mapping(known.get("measures")).get(measured.name))
        mean = values.get("mean")
        if not isinstance(mean, int | float) or not (measured.column or measured in ends):
            continue
        write = scale_text if measured in measures.SCALES else "{:.3g}".format
        between = [values.get(end) for end in ("low", "high")]
        sure = "" if None in between else f" ({' to '.join(map(write, between))})"
        yield (
            measured.name,
            write(mean),
            sure,
            mapping(known.get("meanings")).get(measured.name, ""),
        )


def _line(row: tuple[str, str, str, str]) -> str:
    """Write a row of the table."""
    name, value, interval, meaning = row
    return f"| {name} | {value}{interval} | {meaning} |"

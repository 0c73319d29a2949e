"""Own the look of the report: one HTML page that opens offline, in light and dark, at any width.

Nothing is loaded from elsewhere. A picture is in the file once, as a data URL in its film; what is
dragged shows the same picture larger, and what changed is drawn by the browser from two of them.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from pairedit.data.colour import flatten

EDGE = 0.06  # of a range: so near to its end a mark is written inwards
SIDE = 384  # px, of a picture's longer side at most: it is shown about so large
STYLE, SCRIPT = (Path(__file__).with_name(f"report.{kind}") for kind in ("css", "js"))


@dataclass(frozen=True, kw_only=True)
class Film:
    """Hold one person along the scales of a slider."""

    name: str
    pictures: Sequence[Image.Image]


def document(title: str, parts: Sequence[str]) -> str:
    """Write the page."""
    body = "\n".join(part for part in parts if part)
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style>\n{body}\n"
        f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>\n</html>\n"
    )


def film(films: Sequence[Film], scales: Sequence[float], key: str, unit: float | None) -> str:
    """Show people below each other along the scales; every picture has an id, for a stage.

    Args:
        films: with a picture for each scale.
        scales: ascending.
        key: begins the ids.
        unit: the scale that is worth one pair; None where it is not known.
    """
    heads = [f"{scale:g}{' = one pair' if unit == scale and scale else ''}" for scale in scales]
    rows = [
        f"<span class=row>{escape(one.name)}</span>"
        + "".join(
            "<figure>"
            + picture(image, f"{one.name} at scale {scale:g}", name=f"{key}-{number}-{k}")
            + f"<figcaption>{head}</figcaption></figure>"
            for k, (scale, head, image) in enumerate(zip(scales, heads, one.pictures, strict=True))
        )
        for number, one in enumerate(films)
    ]
    above = "".join(f"<b>{head}</b>" for head in ("", *heads))  # hidden where rows are broken
    # Two halves stand beside each other where there is room.
    half = math.ceil(len(rows) / 2) if len(rows) > 1 else 1
    blocks = "".join(
        f"<div class=film style='--k:{len(scales)}'>{above}{''.join(part)}</div>"
        for part in (rows[:half], rows[half:])
        if part
    )
    return f"<div class=films>{blocks}</div>"


def stage(
    shown: Mapping[str, Sequence[str]],
    scales: Sequence[float],
    notes: Sequence[str],
    unit: float | None,
) -> str:
    """Show films large, all at the one scale that is dragged.

    Args:
        shown: by key of their ids, the names of films.
        scales: ascending, with 0 among them.
        notes: what is to be said at each.
        unit: the scale that is worth one pair; None where it is not known.
    """
    people = "".join(
        f"<figure><div class=pic data-film='{key}-{number}'><img class=now alt=''>"
        f"<img class=zero alt=''></div><figcaption>{escape(name)}</figcaption></figure>"
        for key, names in shown.items()
        for number, name in enumerate(names)
    )
    count = len(next(iter(shown.values())))
    # Several sliders have a line each; the people of one are even lines.
    alike = next((n for n in (4, 3) if count % n == 0), 3)
    across = count if len(shown) > 1 or count < 3 else alike  # of few, large ones
    low, high = scales[0], scales[-1]
    start = unit if unit is not None and unit <= high else high
    places = [(scale, f"{scale:g}", _side(scale, low, high)) for scale in scales]
    if unit is not None and low <= unit <= high:
        near = (high - low) * 0.14  # so wide are two marks on a phone
        places = [place for place in places if abs(place[0] - unit) > near]
        places.append((unit, "one pair", f"one {_side(unit, low, high)}"))
    marks = "".join(
        f"<span class='{kind}' style='left:{100 * (at - low) / (high - low):.1f}%'>{text}</span>"
        for at, text, kind in places
    )
    data = escape(json.dumps({"scales": list(scales), "notes": list(notes)}), quote=True)
    return (
        f"<section class=stage data-rows='{data}'>"
        f"<div class='people{' lines' * (len(shown) > 1)}' style='--n:{across}'>{people}</div>"
        f"<div class=control><input type=range aria-label=scale step=any min={low:g} max={high:g} "
        f"value={start:g}><div class=marks>{marks}</div><output></output> "
        "<label><input type=checkbox> show where it differs from scale 0</label></div></section>"
    )


def _side(at: float, low: float, high: float) -> str:
    """Say at which end of a range a mark stands, if it would reach beyond."""
    share = (at - low) / (high - low)
    return "first" if share < EDGE else "last" if share > 1 - EDGE else ""


def pairs(sides: Sequence[Sequence[Image.Image]], count: int) -> str:
    """Show pairs, before beside after."""
    if not sides:
        return ""
    few = f", {len(sides)} of them shown" if len(sides) < count else ""
    rows = "".join(
        f"<div class=pair>{picture(before, 'before')}{picture(after, 'after')}</div>"
        for before, after in sides
    )
    title = f"{count} pair{'s' * (count > 1)}: before, after{few}"
    return f"<div class=pairs><h3>{title}</h3>{rows}</div>"


def cards(images: Sequence[Image.Image], captions: Sequence[str]) -> str:
    """Show pictures in as many lines as they need, each above its caption."""
    items = "".join(
        f"<figure>{picture(image, caption)}<figcaption>{escape(caption)}</figcaption></figure>"
        for image, caption in zip(images, captions, strict=True)
    )
    return f"<div class=cards style='--n:{len(images)}'>{items}</div>"


def picture(image: Image.Image, alt: str, *, name: str = "") -> str:
    """Write a picture as a data URL."""
    ready = flatten(image).copy()
    ready.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    called = f" id='{name}'" if name else ""
    return f"<img{called} alt='{escape(alt)}' src='{url_of(webp(ready))}'>"


def webp(image: Image.Image, quality: int = 88) -> bytes:
    """Compress a picture."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()


def url_of(content: bytes) -> str:
    """Write PNG or WebP bytes as a data URL."""
    mime = "png" if content.startswith(b"\x89PNG") else "webp"
    return f"data:image/{mime};base64,{base64.b64encode(content).decode()}"

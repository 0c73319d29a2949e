"""Own rows: one person, or photograph, at many positions of one or two sliders, kept on disk.

A row is what one pairedit-gen writes, in a folder that is named by what was asked. The pictures of
several such folders make a finer row. Positions count pairs' worth if the slider's file says which
scale that is. Otherwise they are the LoRA's own scales.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pairedit.lora.file import inspect_lora
from pairedit.plan.parse import is_number
from pairedit.plan.recipe import recipe_of
from pairedit.runs.words import line, listed, quoted, quoted_path, typed
from pairedit.studio import shipped
from pairedit.studio.hand import Hand
from pairedit.studio.shipped import ASKED, NOTES
from pairedit.studio.tidying import use

SHARES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)  # positions, in what is looked at first
CROSSED = 4  # of these on each side of a pad, from the second on
FINER = 3  # pictures between two neighbours


@dataclass(frozen=True, kw_only=True)
class Slider:
    """Name a slider and what its file says of it."""

    path: Path
    label: str
    unit: float | None  # scale that is worth one pair
    strength: float  # that scale, or where nobody has measured it the one to begin with


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Say what a row shows."""

    sliders: tuple[Slider, ...]  # one or two
    seed: int = 0
    prompt: str | None = None  # None: the model's own
    photo: Path | None = None
    local: str = "auto"
    # of one slider; of two their positions are crossed
    positions: tuple[float, ...] = field(default=())

    @property
    def calibrated(self) -> bool:
        """Say whether positions count pairs' worth."""
        return all(slider.unit is not None for slider in self.sliders)

    @property
    def first(self) -> Asked:
        """Return the same with the positions that are rendered first."""
        positions = tuple(float(f"{share * self.start:.2g}") for share in SHARES)
        return replace(self, positions=positions[1 : 1 + CROSSED + 1] if self.is_pad else positions)

    @property
    def start(self) -> float:
        """Return the position that is looked at first: a pair's worth, or a scale."""
        return 1.0 if self.calibrated else max(slider.strength for slider in self.sliders)

    @property
    def stages(self) -> tuple[Asked, ...]:
        """Return the same in the order in which it is rendered: what can be dragged, then all.

        A photograph comes back unedited first: if it is drawn badly, nobody has to wait for more.
        """
        first = (0.0,) if self.photo else (0.0, self.start)
        early = tuple(place for place in self.positions if place in first)
        late = self.positions
        if not (self.photo or self.is_pad):
            # The original is there twice: what a slider does is measured against it.
            late = tuple(place for place in late if place == 0 or place not in early)
        return replace(self, positions=early), replace(self, positions=late)

    @property
    def is_pad(self) -> bool:
        """Say whether two sliders are crossed."""
        return len(self.sliders) == 2


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Hold one picture of a row."""

    at: tuple[float, ...]
    path: Path
    note: str


def slider_at(path: Path, label: str) -> Slider:
    """Read what a slider's file says of it.

    Raises:
        ValueError: it cannot be read.
    """
    recipe = recipe_of(inspect_lora(path))
    return Slider(path=path, label=label, unit=recipe.scale, strength=recipe.strength)


class Rows:
    """Render rows and find them again."""

    def __init__(
        self, folder: Path, hand: Hand, parts: Mapping[str, str], keys: Mapping[str, Any]
    ) -> None:
        """Keep rows in a folder; `parts` and `keys` hold for all of them."""
        self.folder, self._hand = folder, hand
        self._parts, self._keys = dict(parts), dict(keys)

    def place(self, asked: Asked) -> Path:
        """Name the folder of a row by what was asked, and by the files that it is made of."""
        files = [slider.path for slider in asked.sliders]
        files += [asked.photo] if asked.photo else []
        stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files]
        text = json.dumps([self._gen(asked), self._parts, stats], sort_keys=True, default=str)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:20]

    def is_there(self, asked: Asked) -> bool:
        """Say whether a row has been rendered, here or before it shipped; note that it is used."""
        place = self.place(asked)
        if not (place / NOTES).is_file():
            shipped.lay_out(self._gen(asked), self._parts, place)
        there = (place / NOTES).is_file()
        if there:
            use(place)
        return there

    def render(self, asked: Asked) -> Path:
        """Render a row unless it is there; return its folder.

        Raises:
            ValueError: says what is wrong.
        """
        place = self.place(asked)
        if not (place / NOTES).is_file():
            parts = {**self._parts, "edit": "real" if asked.photo else "text"}
            keys = self._gen(asked)
            if asked.prompt:
                keys["prompts"] = [literal(asked.prompt)]
            self._hand.do("row", parts=parts, keys=keys, folder=str(place), of=self._of(asked))
        return place

    def pictures(self, places: Sequence[Path]) -> list[Picture]:
        """Return the pictures of folders, the first ones first where two show the same."""
        found: dict[tuple[float, ...], Picture] = {}
        for place in places:
            notes = read_notes(place)
            for path in sorted((place / "images").glob("[!.]*.png")):
                at = positions_of(path.name)
                if at is not None:
                    found.setdefault(at, Picture(at=at, path=path, note=_note(notes, at)))
        return [found[at] for at in sorted(found)]

    def described(self, asked: Asked) -> dict[str, Any] | None:
        """Say what a row shows, as its note does if it ships; see `shipped.asked_of`."""
        return shipped.asked_of(self._gen(asked), self._parts)

    def have_shipped(self, places: Sequence[Path]) -> bool:
        """Say whether pictures of folders were rendered elsewhere."""
        return any(ASKED in read_notes(place) for place in places)

    def command(self, asked: Asked, words: Sequence[str]) -> str:
        """Write the command that renders the same row."""
        said = [*words]
        for key, value in self._gen(asked).items():
            if key in self._keys:
                continue
            if key == "lora":
                paths = ",".join(quoted_path(Path(path)) for path in value)
                said.append(f"lora={paths}" if len(value) == 1 else f"lora=[{paths}]")
            elif key == "image":
                said += ["edit=real", f"image={quoted_path(Path(value))}"]
            elif isinstance(value, list):
                said.append(f"{key}={listed(value)}")
            else:
                said.append(
                    f"{key}={quoted(value)}" if key == "prompts" else f"{key}={typed(value)}"
                )
        return line("pairedit-gen", said)

    def _gen(self, asked: Asked) -> dict[str, Any]:
        """Return the keys of pairedit-gen for a row."""
        keys: dict[str, Any] = {
            **self._keys,
            "lora": [str(slider.path) for slider in asked.sliders],
            "scales": list(asked.positions),
        }
        keys |= {"calibrated": True} if asked.calibrated else {}
        keys |= {"grid": True} if asked.is_pad else {}
        keys |= {} if asked.local == "auto" else {"local": asked.local == "true"}
        keys |= {"prompts": [asked.prompt]} if asked.prompt else {}
        return keys | ({"image": str(asked.photo)} if asked.photo else {"seeds": [asked.seed]})

    def _of(self, asked: Asked) -> dict[str, Any] | None:
        """Return the keys of pairedit-eval that say what the slider of a row is."""
        if asked.is_pad or asked.photo or 0 not in asked.positions:
            return None
        keys = {key: value for key, value in self._keys.items() if key != "batch_size"}
        return {**keys, "lora": str(asked.sliders[0].path), "scales": list(asked.positions)}


def finer(there: Sequence[float], at: float) -> tuple[float, ...]:
    """Return positions between those that are there, around one of them; 0 with them."""
    places = sorted(set(there))
    near = min(range(len(places)), key=lambda k: abs(places[k] - at), default=None)
    if near is None:
        return ()
    sides = [(near - 1, near), (near, near + 1)]
    gaps = [(places[a], places[b]) for a, b in sides if a >= 0 and b < len(places)]
    between = {
        round(low + (high - low) * k / (FINER + 1), 4)
        for low, high in gaps
        for k in range(1, FINER + 1)
    }
    new = between - set(places)
    return tuple(sorted({0.0, *new})) if new else ()


def literal(text: str) -> str:
    """Write a text so that OmegaConf reads it as it is, whatever it would look up otherwise."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def positions_of(name: str) -> tuple[float, ...] | None:
    """Read the scales in a picture's name, as `sample.file_name` writes them."""
    found = re.search(r"_scale([-+\d.e_]+)\.png$", name)
    with suppress(ValueError):
        return tuple(float(part) + 0.0 for part in found[1].split("_")) if found else None
    return None


def read_notes(place: Path) -> dict[str, Any]:
    """Read what was noted beside a row; empty while it is not done."""
    with suppress(OSError, ValueError):
        found = json.loads((place / NOTES).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _note(notes: Mapping[str, Any], at: tuple[float, ...]) -> str:
    """Say in words what one picture changes by the probe; empty where nothing was read."""
    measures = notes.get("measures") or {}
    scales = notes.get("scales") or []
    if len(at) != 1 or at[0] not in scales:
        return ""
    k = scales.index(at[0])
    return " · ".join(_said(measures, k, str(notes.get("attribute") or "the edit")))


def _said(measures: Mapping[str, Any], k: int, attribute: str) -> Iterator[str]:
    """Yield what the measures say of one scale."""
    values = {name: found[k] for name, found in measures.items() if isinstance(found, list)}
    if is_number(values.get("target")):
        yield f"{attribute}: {values['target']:+.2f} of its range"
    if is_number(values.get("off-target")):
        yield f"everything else: {values['off-target']:.3f} on average"

"""Own what all tabs of the page share: the outputs folder, the queue, the worker, the sliders."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pairedit.data.images import read_image
from pairedit.files import locate
from pairedit.lora.file import inspect_lora
from pairedit.plan.studio import StudioPlan
from pairedit.studio.desk import Desk
from pairedit.studio.hand import Hand
from pairedit.studio.rows import Asked, Rows, Slider, slider_at
from pairedit.studio.shelf import OWN, TRASH, Run, Shelf
from pairedit.studio.uploads import Dropped, received, suffix_of, take_pairs

SHIPPED = "pkg://data/sliders"
PAUSE = 0.2  # seconds between two looks at a rendering
NONE = "none"


class Studio:
    """Hold what the tabs work with; nothing here knows of Gradio."""

    def __init__(self, plan: StudioPlan) -> None:
        """Make the folders; start nothing."""
        self.plan = plan
        self.own = plan.folder / OWN
        self.uploads = self.own / "uploads"
        self.uploads.mkdir(parents=True, exist_ok=True)
        self.shelf = Shelf(plan.folder)
        self.hand = Hand(self.own)
        self.desk = Desk(self.shelf, self.hand)
        self.rows = Rows(self.own / "rows", self.hand, plan.parts, plan.keys)
        self.planning = threading.Lock()  # Hydra composes one configuration at a time
        self._rendering = threading.Lock()
        self._taken: dict[tuple[tuple[str, ...], ...], Dropped] = {}

    def sliders(self) -> dict[str, Slider]:
        """Return the sliders of this base model by what the page calls them, own ones first."""
        found: dict[str, Slider] = {}
        for run in self.shelf.runs().values():
            if run.slider and self._fits(run.slider):
                label = f"{run.name}, {run.when:%d %b %H:%M}, {run.verdict}"
                while label in found:
                    label += " "
                with suppress(ValueError, OSError):
                    found[label] = slider_at(run.slider, run.name)
        for path in sorted(locate(SHIPPED).glob("*.safetensors")):
            if self._fits(path):
                found[f"{path.stem} (shipped)"] = slider_at(path, path.stem)
        return found

    def first(self) -> Asked | None:
        """Return what the page shows when it is opened; None where there is no slider."""
        sliders = list(self.sliders().values())
        # A shipped one comes at once for everybody; without one the newest.
        shipped = [s for s in sliders if s.path.parent == locate(SHIPPED)]
        chosen = (shipped or sliders)[:1]
        return Asked(sliders=tuple(chosen)).first if chosen else None

    def prepare(self) -> None:
        """Render what is shown first while nobody waits; what is wrong the page will say."""
        if (asked := self.first()) is not None and self.desk.busy() is None:
            with suppress(ValueError, OSError):
                self._render(asked)

    def rendered(self, asked: Asked) -> Iterator[str]:
        """Render a row; yield what to say meanwhile.

        Raises:
            ValueError: says what is wrong.
        """
        if self.rows.is_there(asked):
            return
        failed: list[Exception] = []

        def work() -> None:
            try:
                self._render(asked)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="row", daemon=True)
        thread.start()
        started = time.monotonic()
        while thread.is_alive():
            yield self._meanwhile(asked, time.monotonic() - started)
            thread.join(PAUSE)
        if failed:
            raise failed[0]

    def _render(self, asked: Asked) -> None:
        """Render a row when it is its turn; who asks for the same meanwhile gets the same."""
        with self._rendering:
            if not self.rows.is_there(asked):
                with self.desk.rendering():
                    self.rows.render(asked)

    def _meanwhile(self, asked: Asked, seconds: float) -> str:
        """Say what a row waits for."""
        if (place := self.desk.busy()) is not None:
            run = next((r for r in self.shelf.runs().values() if r.run == place), None)
            far = f", step {run.step} of {run.steps}" if run and run.steps else ""
            return f"A training is at work{far}. This row is rendered as soon as it ends or stops."
        there, count = self.rows.count(asked)
        return f"Rendering: {there} of {count} pictures, {seconds:.0f} s."

    def pairs(self, befores: Sequence[str], afters: Sequence[str]) -> Dropped:
        """Keep pairs that the page has received; the same ones once.

        Raises:
            ValueError: they do not match.
        """
        names = tuple(befores), tuple(afters)
        if names not in self._taken:
            self._taken[names] = take_pairs(*names, self.uploads, self.own / "pairs")
        return self._taken[names]

    def photo(self, name: str) -> Path:
        """Keep a photograph that the page has received, under a name of ours.

        Raises:
            ValueError: it cannot be used.
        """
        path = received(name, self.uploads)
        try:
            read_image(path)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), path.name)) from error
        mark = hashlib.sha256(path.read_bytes()).hexdigest()[:20]
        kept = self.own / "photos" / f"{mark}{suffix_of(path)}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.is_file():
            shutil.copyfile(path, kept)
        return kept

    def throw_away(self, run: Run) -> Path:
        """Move a training to the trash folder.

        Raises:
            ValueError: it is at work, or waits.
        """
        if run.state in ("running", "waiting"):
            raise ValueError(f"{run.name}: {run.state}; stop it first")
        place = self.plan.folder / TRASH / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        # The folder of the command goes with its last dataset.
        others = [r for r in self.shelf.runs().values() if r.run == run.run and r.key != run.key]
        what = run.folder if others else run.run
        number = 2
        while place.exists():
            place = replace_number(place, number)
            number += 1
        place.mkdir(parents=True)
        shutil.move(what, place / what.name)
        return place / what.name

    def _fits(self, path: Path) -> bool:
        """Say whether a slider was trained on this base model."""
        with suppress(ValueError, OSError):
            about = inspect_lora(path)
            base = about.get("base_model")
            return base in (self.plan.model.name, self.plan.model.train_on)
        return False


def replace_number(place: Path, number: int) -> Path:
    """Name another folder beside one that is taken."""
    return place.with_name(f"{place.name.split('_no')[0]}_no{number}")


def at(asked: Asked, *positions: float) -> Asked:
    """Return the same at other positions."""
    return replace(asked, positions=tuple(positions))

"""Own what all tabs of the page share: the outputs folder, the queue, the worker, the sliders."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pairedit.data.images import read_image
from pairedit.files import locate
from pairedit.lora.file import inspect_lora
from pairedit.plan.studio import StudioPlan
from pairedit.runs.resume import WORDS
from pairedit.runs.words import quoted_path
from pairedit.studio.desk import Desk, has_begun
from pairedit.studio.hand import Hand
from pairedit.studio.rows import Asked, Rows, Slider, slider_at
from pairedit.studio.shelf import OWN, TRASH, WAITING, Run, Shelf
from pairedit.studio.shipped import SLIDERS
from pairedit.studio.tidying import inside, remove, tidy, use
from pairedit.studio.uploads import Dropped, received, suffix_of, take_pairs

log = logging.getLogger(__name__)

PAUSE = 0.2  # seconds between two looks at a rendering
NONE = "none"
OFTEN = 50  # rows between two looks at how much there is
MOST_LOOKS = 1000  # places on pages that may wait for pictures at once


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
        self._rendered = 0  # rows
        self._looks: dict[str, object] = {}
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
        for path in sorted(locate(SLIDERS).glob("*.safetensors")):
            if self._fits(path):
                found[f"{path.stem} (shipped)"] = slider_at(path, path.stem)
        return found

    def first(self) -> Asked | None:
        """Return what the page shows when it is opened; None where there is no slider."""
        sliders = list(self.sliders().values())
        # A shipped one comes at once for everybody; without one the newest.
        shipped = [s for s in sliders if s.path.parent == locate(SLIDERS)]
        chosen = (shipped or sliders)[:1]
        return Asked(sliders=tuple(chosen)).first if chosen else None

    def prepare(self) -> None:
        """Render what is shown first while nobody waits; what is wrong the page will say."""
        if (asked := self.first()) is not None and self.desk.busy() is None:
            with suppress(ValueError, OSError):
                for stage in asked.stages:
                    self._render(stage)
        self.tidy()

    def warm(self) -> None:
        """Let the worker import while a row is looked at: the next one is rendered the sooner."""
        if self.desk.busy() is None:
            threading.Thread(target=self.hand.start, name="warm", daemon=True).start()

    def look(self, who: str) -> Callable[[], bool]:
        """Begin to wait for pictures; return what says whether the same one still does.

        Whoever goes on to the next person before the last one is there no longer waits for that.
        """
        mark = object()
        self._looks[who] = mark
        if len(self._looks) > MOST_LOOKS:
            self._looks.pop(next(iter(self._looks)), None)
        return lambda: self._looks.get(who) is mark

    def rendered(self, asked: Asked, wanted: Callable[[], bool]) -> Iterator[None]:
        """Render a row; yield from time to time.

        Args:
            asked: what is to be rendered.
            wanted: says whether anybody still looks for it when its turn comes.

        Raises:
            ValueError: says what is wrong.
        """
        if self.rows.is_there(asked):
            return
        failed: list[Exception] = []

        def work() -> None:
            try:
                self._render(asked, wanted)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="row", daemon=True)
        thread.start()
        while thread.is_alive():
            yield
            thread.join(PAUSE)
        if failed:
            raise failed[0]

    def _render(self, asked: Asked, wanted: Callable[[], bool] = lambda: True) -> None:
        """Render a row when it is its turn; who asks for the same meanwhile gets the same."""
        with self._rendering:
            if wanted() and not self.rows.is_there(asked):
                with self.desk.rendering():
                    if wanted():
                        self.rows.render(asked)
                        self._rendered += 1
                if self._rendered % OFTEN == 0:
                    self.tidy()

    def meanwhile(self, there: int, count: int, seconds: float) -> str:
        """Say what a row waits for, of which some pictures are there."""
        if (place := self.desk.busy()) is not None:
            run = next((r for r in self.shelf.runs().values() if r.run == place), None)
            far = f", step {run.step} of {run.steps}" if run and run.steps else ""
            return f"A training is at work{far}. This row is rendered as soon as it ends or stops."
        return f"Rendering: {there} of {count} pictures, {seconds:.0f} s."

    def start_anew(self) -> None:
        """Forget what browsers have sent to earlier studios, while nobody looks at the page."""
        for path in inside(self.uploads):
            remove(path)

    def tidy(self) -> None:
        """Keep what the page itself has written from growing without end."""
        texts = [
            path.read_text(encoding="utf-8", errors="replace")
            for name in (WORDS, WAITING)
            for path in self.plan.folder.glob(f"**/{name}")
        ]
        for text in tidy(self.own, texts):
            log.info(text)

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
        use(kept)
        return kept

    def go_on(self, run: Run | None) -> None:
        """Put a training in the queue that has stopped.

        Raises:
            ValueError: there is nothing to go on with.
        """
        if run is None or not can_go_on(run):
            raise ValueError("There is nothing to go on with.")
        self.desk.add([f"resume={quoted_path(run.run)}"], run.run)

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


def can_go_on(run: Run) -> bool:
    """Say whether a training has stopped and can be continued by resume=FOLDER."""
    return run.state in ("stopped", "failed") and has_begun(run.run)


def replace_number(place: Path, number: int) -> Path:
    """Name another folder beside one that is taken."""
    return place.with_name(f"{place.name.split('_no')[0]}_no{number}")

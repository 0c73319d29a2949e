"""Own whose turn it is: one heavy job at a time. The others wait, and can say what they wait for.

A training is the ordinary pairedit-train, in a process of its own that outlives the server. A
training that waits has a note in its folder, so nothing is lost when the server ends. Renderings of
the page come before trainings that wait, because somebody looks at the page.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pairedit.files import read_yaml, write_yaml
from pairedit.runs.resume import WORDS, fresh_folder
from pairedit.runs.words import quoted_path
from pairedit.studio.hand import Hand
from pairedit.studio.shelf import OUTPUT, TITLE, WAITING, Shelf, is_at_work

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "pairedit", "train")
PAUSE = 0.3  # seconds between two looks at what is going on
PATIENCE = 120  # seconds that a training has to save after it was told to stop


class Desk:
    """Start trainings one after the other, and let renderings in between."""

    def __init__(self, shelf: Shelf, hand: Hand) -> None:
        """Look after the trainings of a shelf; begins with `start`."""
        self.shelf, self.hand = shelf, hand
        self._changed = threading.Condition()  # its lock may be taken again by who holds it
        self._rendering = 0  # how many renderings are at work or wait
        self._training: Path | None = None  # the folder of the one that is at work
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._look_after, name="desk", daemon=True)

    def start(self) -> None:
        """Begin to look after what waits."""
        self._training = self._foreign()
        self._thread.start()

    def add(self, words: Sequence[str], place: Path | None = None, title: str = "") -> Path:
        """Put a training in the queue.

        Args:
            words: of pairedit-train, without the folder.
            place: the folder of a training that is to go on; None for a new one.
            title: what the page calls it; never part of a path.

        Returns:
            Its folder.
        """
        if place is None:
            place = fresh_folder(self.shelf.folder / "train")
            words = [*words, f"hydra.run.dir={quoted_path(place)}"]
        if title:
            write_yaml(place / TITLE, {"title": title})
        write_yaml(place / WAITING, {"words": list(words)})
        with self._changed:
            self._changed.notify_all()
        return place

    def stop(self, place: Path) -> bool:
        """Take a training out of the queue, or have it save and stop; say if there was one."""
        with self._changed:
            waiting = place / WAITING
            if waiting.is_file():
                waiting.unlink()
                with suppress(OSError):
                    if not (place / WORDS).is_file():
                        (place / TITLE).unlink(missing_ok=True)
                    # A folder that never began holds nothing else.
                    place.rmdir()
                return True
            number = self._child.pid if self._is_child(place) else is_at_work(place)
            if number is None:
                return False
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGINT)
                return True
        return False

    def busy(self) -> Path | None:
        """Return the folder of the training that is at work."""
        return self._training

    def waiting(self) -> list[Path]:
        """Return the folders of those that wait, the first to go first."""
        # One whose turn has come keeps its note until its process is there.
        with self._changed:
            return [place for place in self.shelf.waiting() if place != self._training]

    def ahead(self, place: Path) -> int:
        """Count the trainings that come before one; 0 once it is its turn."""
        with self._changed:
            if self._training == place:
                return 0
            waiting = self.waiting()
            before = waiting[: waiting.index(place)] if place in waiting else []
            return len(before) + (self._training is not None)

    @contextmanager
    def rendering(self) -> Iterator[None]:
        """Wait until no training is at work, and keep others from starting inside."""
        with self._changed:
            self._rendering += 1
            try:
                self._changed.wait_for(lambda: self._training is None or self._closed)
            except BaseException:
                self._rendering -= 1
                raise
        try:
            if self._closed:
                raise ValueError("the studio ends")
            yield
        finally:
            with self._changed:
                self._rendering -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Have the training that this studio started save and stop; leave the queue as it is."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.hand.kill()
        child = self._child
        if child is not None and child.poll() is None:
            log.info("%s: the training saves and stops", self._training)
            child.send_signal(signal.SIGINT)
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                log.warning(
                    "%s: the training is still at work (process %d)", self._training, child.pid
                )

    def _look_after(self) -> None:
        """Start the next training whenever nothing else is at work."""
        while not self._closed:
            try:
                self._look()
            except Exception:  # the queue must go on; what was wrong is in the log
                log.exception("an error in the queue of trainings; the queue goes on")
            time.sleep(PAUSE)

    def _look(self) -> None:
        """See what has ended, and what can start."""
        with self._changed:
            ended = self._training is not None and not self._is_alive()
            if ended:
                self._training = self._child = None
                self._training = self._foreign()
                self._changed.notify_all()
            if self._training is not None or self._rendering or self._closed:
                return
            waiting = self.shelf.waiting()
            if waiting:
                # One that a terminal has started meanwhile goes first.
                if (foreign := self._foreign()) is not None:
                    self._training = foreign
                    return
                self._training = waiting[0]
        if waiting:
            # Its weights would stand beside those of the training.
            self.hand.rest()
            self._launch(waiting[0])
        elif ended:
            # Whoever looks at the slider next need not wait for the imports.
            self.hand.start()

    def _launch(self, place: Path) -> None:
        """Start one training."""
        with self._changed:
            if not (place / WAITING).is_file():  # taken back at the last moment
                self._training = None
                return
            try:
                words = read_yaml(place / WAITING, dict)["words"]
                (place / WAITING).unlink()
                with (place / OUTPUT).open("ab") as output:
                    self._child = subprocess.Popen(
                        [*COMMAND, *words],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        # Ctrl-C in the terminal is for the server, which passes it on.
                        start_new_session=True,
                    )
            except (OSError, ValueError, KeyError) as error:
                log.warning("%s: could not be started (%s)", place, error)
                with suppress(OSError):
                    (place / WAITING).unlink(missing_ok=True)
                    with (place / OUTPUT).open("a", encoding="utf-8") as output:
                        output.write(f"error: {error}\n")
                self._training = None

    def _is_child(self, place: Path) -> bool:
        return self._child is not None and self._training == place

    def _is_alive(self) -> bool:
        """Say whether the training at work still is."""
        if self._child is not None:
            return self._child.poll() is None
        return self._training is not None and is_at_work(self._training) is not None

    def _foreign(self) -> Path | None:
        """Return the folder of a training that an earlier studio, or a terminal, has started."""
        places = {run.run for run in self.shelf.runs().values() if run.state == "running"}
        return min(places, default=None)


def has_begun(place: Path) -> bool:
    """Say whether a training can be continued by resume=FOLDER."""
    return (place / WORDS).is_file()

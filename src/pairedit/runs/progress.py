"""Own how far a training has come: its losses, its checkpoints, going on, giving up, stopping."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor
from tqdm import trange

from pairedit.machine.devices import Readout
from pairedit.runs.about import check_same
from pairedit.runs.checkpoints import (
    Checkpoint,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)
from pairedit.runs.divergence import WINDOW, LossWatch, calmer
from pairedit.runs.folder import CHECKPOINTS
from pairedit.runs.settling import Settling
from pairedit.runs.state import State
from pairedit.runs.stopping import Stopped, Stopping
from pairedit.runs.tracking import Run
from pairedit.settings import Training

log = logging.getLogger(__name__)

Save = Callable[[int, str], dict[str, Path]]  # (updates seen, suffix of the names) -> files by role


class Progress:
    """Remember how far one training has come."""

    def __init__(
        self,
        *,
        name: str,
        settings: Training,
        folder: Path,
        state: State,
        save: Save,
        run: Run,
        about: Mapping[str, Any],
        stopping: Stopping,
        delayed: bool,
        settling: Settling | None = None,
    ) -> None:
        """Start before the first step.

        Args:
            name: of the progress bar, and in messages.
            settings: say when a checkpoint is due.
            folder: of the run; receives `checkpoints/` while it trains.
            state: all that the next step depends on.
            save: writes the LoRA files.
            run: receives the loss of every step.
            about: what checkpoints belong to, as JSON values.
            stopping: tells after which step to save and stop.
            delayed: read the losses of a step while the next one runs, as a GPU can.
            settling: tells after which step more would not help; None never does.
        """
        self.name, self.settings, self.state, self.run = name, settings, state, run
        self._checkpoints = folder / CHECKPOINTS
        if settling:
            about = {**about, "settings": {**about["settings"], "stop": settling.gauge.name}}
        self._save, self._about, self._stopping, self._delayed = save, about, stopping, delayed
        self._settling, self._reached = settling, settings.steps
        self._waiting: deque[tuple[int, Sequence[str], Readout]] = deque()
        self._watch = LossWatch()
        self._started = time.perf_counter()
        self._first = 1
        self._bar: Any = None

    def resume(self) -> None:
        """Go on from the last checkpoint, where there is one.

        Raises:
            ValueError: it is of other settings or data.
        """
        last = read_checkpoint(self._checkpoints)
        if last:
            check_same(self._checkpoints, last.notes, self._about)
            self.state.restore(last)
            self._watch = LossWatch(**last.notes["losses"])
            if self._settling:
                self._settling.values = [*last.notes["settling"]]
            self._first = last.step + 1
            self._started -= last.notes["seconds"]
            total = self.settings.steps
            log.info("%s: goes on after step %d of %d", self.name, last.step, total)
        self.run.rewind(self._first - 1)

    def restart(self) -> None:
        """Forget what an earlier run has left."""
        remove_checkpoints(self._checkpoints)

    def steps(self) -> Iterator[int]:
        """Count the steps that are left, from 1 on, with a progress bar on a terminal."""
        self._bar = trange(
            self._first,
            self.settings.steps + 1,
            desc=self.name,
            unit="step",
            disable=None,
            initial=self._first - 1,
            total=self.settings.steps,
        )
        for step in self._bar:
            yield step
            if step == self._reached < self.settings.steps:
                self._bar.close()
                return

    def note(self, step: int, names: Sequence[str], losses: Tensor) -> None:
        """Take in the losses of a step, float32 [T], before its update.

        Raises:
            ValueError: they diverge.
        """
        self._waiting.append((step, names, Readout(losses)))
        self._report(left=1 if self._delayed else 0)

    def update_done(self, step: int) -> None:
        """Save what is due after a step's update.

        Raises:
            ValueError: losses or weights are lost.
            Stopped: a signal came; the state is saved.
        """
        settings = self.settings
        due = bool(settings.save_every) and step % settings.save_every == 0
        if step < settings.steps and self._settling and self._settling.settled_by(step):
            self._reached = step
            log.info(
                "%s: stops after step %d of at most %d: %s",
                self.name,
                step,
                settings.steps,
                self._settling.why,
            )
        last = step == self._reached
        stops = self._stopping.pending is not None and not last
        if not (due or stops or last):
            return
        self._report(left=0)
        if not self.state.finite():
            self._give_up(step, "the LoRA weights are not finite")
        if due and settings.snapshots:
            self._save(step, f"-{step:06d}")
        if (due and not last) or stops:
            self._keep(step)
        if stops:
            raise Stopped(self._stopping.pending, f"after step {step} of {settings.steps}")

    def finish(self) -> dict[str, Path]:
        """Write the final LoRA files, by role; checkpoints are no longer needed."""
        paths = self._save(self._reached, "")
        remove_checkpoints(self._checkpoints)
        return paths

    def _report(self, *, left: int) -> None:
        """Log losses until so many steps are left unread."""
        while len(self._waiting) > left:
            step, names, reading = self._waiting.popleft()
            losses = dict(zip(names, reading.values(), strict=True))
            loss = sum(losses.values())
            if reason := self._watch.diverged(loss):
                self._give_up(step, f"the loss {reason}")
            self.run.log(
                step,
                {
                    "loss": loss,
                    **{f"loss/{name}": value for name, value in losses.items()},
                    "lr": self.settings.learning_rate,
                    "seconds": round(self._seconds(), 4),
                },
            )
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

    def _keep(self, step: int) -> None:
        """Write a checkpoint, after what was logged."""
        self.run.commit()
        notes = {**self._about, "losses": self._watch.state(), "seconds": self._seconds()}
        if self._settling:
            notes["settling"] = self._settling.values
        checkpoint = Checkpoint(step=step, tensors=self.state.capture(), notes=notes)
        write_checkpoint(self._checkpoints, checkpoint)

    def _give_up(self, step: int, reason: str) -> NoReturn:
        """Raise; the last good weights become LoRA files, as nothing will go on here."""
        good = read_checkpoint(self._checkpoints, before=step - WINDOW)
        kept = ""
        if good:
            self.state.restore(good)
            files = self._save(good.step, f"-{good.step:06d}").values()
            kept = f"; step {good.step} is kept: {', '.join(map(str, files))}"
        advice = f"try {calmer(self.settings.learning_rate)}"
        raise ValueError(f"{self.name}: {reason} at step {step}; {advice}{kept}")

    def _seconds(self) -> float:
        """Return how long the run has trained, before an interruption too."""
        return time.perf_counter() - self._started

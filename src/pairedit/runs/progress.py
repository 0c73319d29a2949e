"""Own how far a training has come: its losses, its checkpoints, going on, giving up, stopping."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor
from tqdm import tqdm, trange

from pairedit.machine.devices import Readout
from pairedit.runs.about import check_same
from pairedit.runs.checkpoints import (
    Checkpoint,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
)
from pairedit.runs.divergence import WINDOW, LossWatch, calmer
from pairedit.runs.folder import CHECKPOINTS, SHOWN, STATE
from pairedit.runs.looking import Looking
from pairedit.runs.settling import Settling
from pairedit.runs.state import State
from pairedit.runs.stopping import Stopped, Stopping
from pairedit.runs.tracking import Run
from pairedit.settings import Training

log = logging.getLogger(__name__)

EVERY = 30.0  # s between lines where there is no progress bar

# (updates seen, suffix of the names, steps at which the training had ended before) -> by role
Save = Callable[[int, str, Sequence[int]], dict[str, Path]]


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
        looking: Looking | None = None,
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
            looking: renders rows meanwhile.
            settling: tells after which step more would not help; None never does.
        """
        self.name, self.settings, self.state, self.run = name, settings, state, run
        self._checkpoints, self._end = folder / CHECKPOINTS, folder / STATE
        self._shown = [folder / name for name in SHOWN]
        if settling:
            about = {**about, "settings": {**about["settings"], "stop": settling.gauge.name}}
        self._save, self._about, self._stopping, self._delayed = save, about, stopping, delayed
        self._looking, self._settling, self._reached = looking, settling, settings.steps
        self._waiting: deque[tuple[int, Sequence[str], Readout]] = deque()
        self._watch = LossWatch()
        self._started = time.perf_counter()
        self._first = 1
        self._bar: Any = None
        self._line = (0, 0.0)  # step and seconds of the last line
        self._ended: list[int] = []  # steps at which the training had come to its end before

    def resume(self) -> None:
        """Go on from the last checkpoint, or from the end of a shorter training.

        Raises:
            ValueError: it is of other settings or data, or has come further already.
        """
        broken_off = read_checkpoint(self._checkpoints)
        last = broken_off or read_checkpoint(self._end)
        if last:
            self._go_on(last, ended=not broken_off)
        self.run.rewind(self._first - 1)

    def _go_on(self, last: Checkpoint, *, ended: bool) -> None:
        """Take a checkpoint's state, of a training that has ended or not; see `resume`."""
        total, planned = self.settings.steps, last.notes["settings"]["steps"]
        check_same(self._checkpoints, last.notes, self._about)
        if last.step > total:
            raise ValueError(
                f"{self.name}: has seen {last.step} steps already; expected at least so many"
            )
        self.state.restore(last)
        self._watch = LossWatch(**last.notes["losses"])
        if self._settling:
            self._settling.values = [*last.notes["settling"]]
        self._first = last.step + 1
        self._started -= last.notes["seconds"]
        self._ended = list(last.notes.get("ended", []))
        if ended and planned == total:  # it may have settled before
            self._reached = last.step
        elif ended:
            self._ended.append(last.step)
        log.info("%s: goes on after step %d of %d", self.name, last.step, total)

    def restart(self) -> None:
        """Forget what an earlier run has left."""
        remove_checkpoints(self._checkpoints)
        remove_checkpoints(self._end)

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
        self._line = (self._first - 1, self._seconds())
        for step in self._bar:
            if step > self._reached:
                break
            yield step
        self._bar.close()

    def note(self, step: int, names: Sequence[str], losses: Tensor) -> None:
        """Take in the losses of a step, float32 [T], before its update.

        Raises:
            ValueError: they diverge.
        """
        self._waiting.append((step, names, Readout(losses)))
        self._report(left=1 if self._delayed else 0)

    def update_done(self, step: int) -> None:
        """Save and show what is due after a step's update.

        Raises:
            ValueError: losses or weights are lost.
            Stopped: a signal came; the state is saved.
        """
        self._keep_due(step)
        if self._looking and self._looking.due(step, self._seconds()):
            self._report(left=0)
            self._started += self._looking.show(step)
        self._say(step)

    def _keep_due(self, step: int) -> None:
        """Save what is due; see `update_done`."""
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
            self._save(step, f"-{step:06d}", self._ended)
        if (due and not last) or stops:
            write_checkpoint(self._checkpoints, self._checkpoint(step))
        if stops:
            raise Stopped(self._stopping.pending, f"after step {step} of {settings.steps}")

    def finish(self) -> dict[str, Path]:
        """Write the final LoRA files, by role; of checkpoints the last state alone is kept.

        What shows the LoRA files that were there before is removed.
        """
        if self.settings.save_every:
            # First: a training whose files are there has come to its end.
            write_checkpoint(self._end, self._checkpoint(self._reached), kept=1)
        # Of a shorter training. They go before its LoRAs do: nothing shows another than is there.
        for path in self._shown:
            path.unlink(missing_ok=True)
        paths = self._save(self._reached, "", self._ended)
        remove_checkpoints(self._checkpoints)
        return paths

    def _say(self, step: int) -> None:
        """Write a line now and then where no progress bar is shown."""
        first, since = self._line
        seconds = self._seconds()
        if not self._bar.disable or seconds - since < EVERY:
            return
        self._line = (step, seconds)
        rate = (step - first) / (seconds - since)
        total = self.settings.steps
        log.info(
            "%s: step %d of %d, loss %.4f, %.3g steps/s, %s left",
            self.name,
            step,
            total,
            self._watch.now,
            rate,
            tqdm.format_interval((total - step) / rate),
        )

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

    def _checkpoint(self, step: int) -> Checkpoint:
        """Capture the state after a step, and make sure that what was logged is on the disk."""
        self.run.commit()
        notes = {**self._about, "losses": self._watch.state(), "seconds": self._seconds()}
        if self._settling:
            notes["settling"] = self._settling.values
        if self._ended:
            notes["ended"] = self._ended
        return Checkpoint(step=step, tensors=self.state.capture(), notes=notes)

    def _give_up(self, step: int, reason: str) -> NoReturn:
        """Raise; the last good weights become LoRA files, as nothing will go on here."""
        good = read_checkpoint(self._checkpoints, before=step - WINDOW)
        kept = ""
        if good:
            self.state.restore(good)
            files = self._save(good.step, f"-{good.step:06d}", self._ended).values()
            kept = f"; step {good.step} is kept: {', '.join(map(str, files))}"
        advice = f"try {calmer(self.settings.learning_rate)}"
        raise ValueError(f"{self.name}: {reason} at step {step}; {advice}{kept}")

    def _seconds(self) -> float:
        """Return how long the run has trained, before an interruption too."""
        return time.perf_counter() - self._started

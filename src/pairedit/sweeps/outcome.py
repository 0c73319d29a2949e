"""Own what is noted of a job while it runs and when it ends: `job.json` in its folder.

The command that started a sweep and whoever looks at it read it, whichever process and machine
the job ran on. Never imports torch.
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pairedit.files import json_text, replacing

NAME = "job.json"
BEGUN, DONE, FAILED, STOPPED = "begun", "done", "failed", "stopped"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Hold how far one job of a sweep has come."""

    launch: str  # of the command that started it: an older note says nothing about this one
    starts: int  # more than one where its process was lost, or a cluster took its node away
    status: str
    since: float  # seconds of the system's clock
    text: str = ""  # why it failed
    score: float | None = None  # what a search goes by
    short: bool = False  # it was measured, but the slider does not get as far as its measure needs
    seconds: float | None = None  # that the last start took
    machine: str = ""
    process: int = 0

    @property
    def result(self) -> float | None:
        """Return the score as it was; JSON has no NaN."""
        return math.nan if self.short else self.score


def begin(folder: Path, launch: str) -> Outcome:
    """Note that a job begins, or begins again."""
    last = read(folder)
    again = last is not None and last.launch == launch and last.status in (BEGUN, STOPPED)
    starts = last.starts + 1 if again and last else 1
    outcome = Outcome(
        launch=launch,
        starts=starts,
        status=BEGUN,
        since=time.time(),
        machine=platform.node(),
        process=os.getpid(),
    )
    write(folder, outcome)
    return outcome


def end(
    folder: Path, outcome: Outcome, status: str, *, text: str = "", score: float | None = None
) -> None:
    """Note how a job ended."""
    seconds = round(time.time() - outcome.since, 3)
    short = score is not None and math.isnan(score)
    known = {"status": status, "text": text, "seconds": seconds}
    write(folder, replace(outcome, score=None if short else score, short=short, **known))


def refuse(folder: Path, text: str) -> None:
    """Note that a job never began because it cannot run; what its folder says already stays."""
    if read(folder) is None:
        end(folder, begin(folder, ""), FAILED, text=text)


def write(folder: Path, outcome: Outcome) -> None:
    """Replace the note; a full disk must not hide why a job failed."""
    with suppress(OSError), replacing(folder / NAME) as temporary:
        temporary.write_text(json_text(asdict(outcome), indent=1), encoding="utf-8")


def read(folder: Path) -> Outcome | None:
    """Read the note of a job; None where there is none that can be read."""
    try:
        return Outcome(**json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None

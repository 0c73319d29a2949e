"""Count what the harness does; as a pytest plugin (-p figures) also run its long part and report.

    PYTHONPATH=tests/faults pytest -p figures tests/faults

prints the figures and, if all tests passed, writes them into docs/reliability.md.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from pathlib import Path

from child import Outcome

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
LABELS = {
    "kills": "SIGKILLs at random moments",
    "kills between": "SIGKILLs before a chosen change of the file system",
    "stops": "SIGINT and SIGTERM at random moments",
    "resumed": "interrupted trainings that were resumed to their end",
    "bytes equal": "of these with the bytes of an unbroken run, every file",
    "metrics whole": "of these with metrics.jsonl without gap or double line",
    "configs": "bad configurations tried, each refused with a readable message",
    "configs accepted": "generated configurations that were fine after all",
    "files": "mutated files tried",
    "files refused": "of these refused with a line that names the file",
    "files accepted": "of these read without complaint (the mutation left a valid file)",
    "faults": "machine faults tried: full disk, read-only folder, memory, vanished file and so on",
    "commands": "commands run in a process of their own",
    "tracebacks": "tracebacks shown to the user",
    "hangs": "hangs",
    "lost": "outputs lost",
}
COUNTS: Counter[str] = Counter()
long = False
_started = time.monotonic()


def see(outcome: Outcome) -> Outcome:
    """Count a command, and insist that it neither hung nor showed a traceback."""
    COUNTS["commands"] += 1
    COUNTS["tracebacks"] += outcome.traceback
    COUNTS["hangs"] += outcome.hung
    assert not outcome.hung, outcome
    assert not outcome.traceback, outcome.out + outcome.err
    return outcome


def lines() -> list[str]:
    """Write the figures."""
    return [f"- {COUNTS[key]} {label}" for key, label in LABELS.items()]


def pytest_configure() -> None:
    """Be the long part."""
    global long
    long = True


def pytest_terminal_summary(terminalreporter, exitstatus) -> None:
    """Print the figures, and keep those of a run without failure."""
    import torch

    where = (
        f"`make test-faults`: {(time.monotonic() - _started) / 60:.0f} minutes on "
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}."
    )
    terminalreporter.section("figures")
    for line in lines():
        terminalreporter.write_line(line)
    if exitstatus == 0 and COUNTS:  # tests that were only collected have none
        text = PAGE.read_text(encoding="utf-8")
        head, rest = text.split(BEGIN)
        tail = rest.split(END)[1]
        written = "\n".join([where, "", *lines(), ""])
        PAGE.write_text(head + BEGIN + written + END + tail, encoding="utf-8")
        terminalreporter.write_line(f"written to {PAGE}")

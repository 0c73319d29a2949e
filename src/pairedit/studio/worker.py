"""Own the process that renders for the page, so that the server never waits and holds no weights.

It reads a JSON object a line, `{"job": "row", ...}`, and answers each with `{"error": null}` or
`{"error": "what is wrong"}`, and with `warnings`, a list of lines. It ends when its input ends, and
so it ends with the server.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pairedit.machine.collector import collector_at_rest
from pairedit.plan.eval import EvalPlan, plan_eval
from pairedit.plan.export import plan_export
from pairedit.plan.gen import plan_gen
from pairedit.plan.options import composed
from pairedit.plan.wording import describe
from pairedit.studio.uploads import Heard

log = logging.getLogger(__name__)


def row(parts: Mapping[str, str], keys: Mapping[str, Any], folder: str, of: Any = None) -> None:
    """Render one row; see `jobs.row`.

    Args:
        parts: options of pairedit-gen by group.
        keys: of pairedit-gen.
        folder: receives its files.
        of: keys of pairedit-eval that say what its one slider is, if that is to be measured.
    """
    from pairedit.jobs.row import run_row

    def measured() -> EvalPlan:
        groups = {group: parts[group] for group in ("model", "hardware") if group in parts}
        return plan_eval(composed("eval", {**groups, "reader": ["probe"]}, of))

    plan = plan_gen(composed("gen", parts, keys))
    run_row(plan, Path(folder), None if of is None else measured)


def export(keys: Mapping[str, Any]) -> None:
    """Write a LoRA in another layout."""
    from pairedit.jobs.export import run_export

    run_export(plan_export(composed("export", {}, keys)))


JOBS: dict[str, Callable[..., None]] = {"row": row, "export": export}


def main() -> None:
    """Do what is asked on the standard input until that ends."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # Ctrl-C in the terminal reaches the whole group; the server says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    with collector_at_rest():  # before anything is asked, since it takes seconds
        importlib.import_module("pairedit.jobs.row")
    for line in sys.stdin:
        asked = json.loads(line)
        error = None
        with Heard("pairedit") as heard:
            try:
                JOBS[asked.pop("job")](**asked)
            except Exception as caught:
                log.debug("failed", exc_info=True)
                error = describe(caught)
        answers.write(json.dumps({"error": error, "warnings": heard.lines}) + "\n")


if __name__ == "__main__":
    main()

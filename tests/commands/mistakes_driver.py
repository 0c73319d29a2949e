"""Run command lines one after the other in a process of its own; print what each one did.

Reads a JSON list of [command, [words]] from stdin; writes a JSON list of exit code, stderr,
seconds, and whether torch had been imported. A separate process, because pytest's has torch.
"""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

from pairedit import cli

sys.path.append(str(Path(__file__).parents[1]))

from parsing import compose_once, parse_once


def run(command: str, words: list[str]) -> dict:
    sys.argv = [f"pairedit-{command}", *words]
    out, err = io.StringIO(), io.StringIO()
    code, started = 0, time.perf_counter()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(out):
        try:
            getattr(cli, command)()
        except SystemExit as leave:
            code = leave.code
    return {
        "code": code,
        "out": out.getvalue(),
        "err": err.getvalue(),
        "seconds": time.perf_counter() - started,
        "heavy": sorted({"torch", "diffusers", "transformers"} & set(sys.modules)),
    }


if __name__ == "__main__":
    parse_once()
    compose_once()
    print(json.dumps([run(command, words) for command, words in json.load(sys.stdin)]))

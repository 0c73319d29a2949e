"""Own the worker as the server sees it: it starts when needed, and does one job at a time.

Ended before a training starts, since two copies of a large model fit on few machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

GONE = "the rendering process ended unexpectedly; {} says more"


class Hand:
    """Give jobs to the worker, one at a time."""

    def __init__(self, folder: Path) -> None:
        """Start nothing yet.

        Args:
            folder: receives worker.log.
        """
        self._log = folder / "worker.log"
        self._turn = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Let the worker import and load while nobody waits for it."""
        with self._turn:
            self._open()

    def do(self, job: str, **asked: Any) -> list[str]:
        """Have one job done; return what it has warned of.

        Raises:
            ValueError: says what was wrong with it.
        """
        with self._turn:
            process = self._open()
            try:
                process.stdin.write(json.dumps({"job": job, **asked}) + "\n")
                process.stdin.flush()
                answer = process.stdout.readline()
            except OSError:
                answer = ""
            if not answer:
                self._close()
                raise ValueError(GONE.format(self._log))
        said = json.loads(answer)
        if said["error"]:
            raise ValueError(said["error"])
        return said["warnings"]

    def rest(self) -> None:
        """End the worker once it is done; the next job starts another."""
        with self._turn:
            self._close()

    def kill(self) -> None:
        """End the worker at once."""
        process = self._process
        if process is not None:
            process.kill()

    def _open(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "pairedit.studio.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, "PYTHONUTF8": "1"},
                )
        return self._process

    def _close(self) -> None:
        if self._process is None:
            return
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

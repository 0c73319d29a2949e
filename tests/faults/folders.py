"""Compare run folders: every file by its bytes, metrics without their times."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import figures

# The lock and Hydra's log tell how often a run was started, the last one from where.
PASSING = (".lock", "train.log", "gen.log", "eval.log", "started.yaml")


def contents(folder: Path) -> dict[str, str]:
    """Return each file's digest by its path inside the folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        # The state of a finished training notes how long it took, and is named by its bytes.
        if path.is_file() and path.name not in PASSING and path.parent.name != "state":
            data = metrics(path) if path.name == "metrics.jsonl" else path.read_bytes()
            found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def metrics(path: Path) -> bytes:
    """Return the lines of metrics.jsonl without the seconds."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows]).encode()


def check_same(folder: Path, expected: dict[str, str], steps: int) -> None:
    """Insist that a resumed run left what an unbroken one leaves, and count it."""
    figures.COUNTS["resumed"] += 1
    for path in folder.glob("*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, steps + 1))
        assert all(a["seconds"] <= b["seconds"] for a, b in pairwise(rows))
    figures.COUNTS["metrics whole"] += 1
    found = contents(folder)
    figures.COUNTS["lost"] += len(expected.keys() - found.keys())
    assert found == expected
    figures.COUNTS["bytes equal"] += 1


def check_untouched(folder: Path, before: dict[str, str]) -> None:
    """Insist that a refused command left all outputs alone."""
    found = contents(folder)
    figures.COUNTS["lost"] += sum(found.get(name) != digest for name, digest in before.items())
    assert found == before

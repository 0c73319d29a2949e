"""Name the trainings of the benchmark and remember what is known of each, in a file beside it."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pairedit.files import replacing
from pairedit.machine.hardware import AUTO

EDITS = ("smile", "age", "mouth_open", "eye_size", "hair_length", "beard", "glasses", "nose_width")
FAILS = "tilt"  # last in line, and in no mean


@dataclass(frozen=True, kw_only=True)
class Job:
    """Name one training."""

    method: str
    steps: int
    edit: str
    seed: int
    pairs: int
    precision: str = AUTO  # of the base

    @property
    def recipe(self) -> str:
        """Name all but edit and seed: a row of the table."""
        more = ["one"] if self.pairs == 1 else []
        more += [self.precision] if self.precision != AUTO else []
        return "-".join([self.method, str(self.steps), *more])

    @property
    def name(self) -> str:
        """Name the folder."""
        return f"{self.recipe}-{self.edit}-{self.seed}"


def jobs(args: argparse.Namespace) -> list[Job]:
    """List all jobs, those first without which there is no comparison."""

    def of(recipes: Sequence[str], edits: Sequence[str], seed: int, pairs: int) -> Iterator[Job]:
        for recipe, edit in product(recipes, edits):
            method, steps, *precision = recipe.split(":")
            what = {"edit": edit, "seed": seed, "pairs": pairs}
            what |= {"precision": precision[0]} if precision else {}
            yield Job(method=method, steps=int(steps), **what)

    found: list[Job] = []
    means = [edit for edit in args.edits if edit != FAILS]
    for seed in args.training_seeds:
        found += of(args.methods, means, seed, 3)
        found += of(args.one, means, seed, 1)
        found += of(args.methods, [edit for edit in args.edits if edit == FAILS], seed, 3)
    return found


def results(folder: Path) -> dict[str, dict]:
    """Read what is known of a job."""
    file = folder.with_suffix(".json")
    return json.loads(file.read_text()) if file.is_file() else {}


def note(folder: Path, found: dict) -> None:
    """Add to what is known of a job; an error is the last word or no longer true."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    known = {name: value for name, value in results(folder).items() if name != "error"}
    with replacing(folder.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(known | found, indent=1))

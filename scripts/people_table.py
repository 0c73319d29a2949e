"""Tell how many people it takes to find the scale that is worth one pair, edit by edit.

    python scripts/people_table.py --measure [--processes 7] [--people 256] [--out FILE.json]
    python scripts/people_table.py [--write]

`--measure` trains one slider of the default method for each shipped edit, renders many people with
it as it chose to be used, and keeps what the probe reads of the edited attribute: one number for
each person and scale. The second call draws from these people, again and again, those who
calibrate, as `pairedit-eval` does, and reads at the scale that they find what the slider does to
all of them. `--write` puts the table into docs/method.md.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores

import torch
from torch import Tensor

from edits.jobs import EDITS, Job
from edits.slider import FIRST_SEED, look, plan_of
from pairedit.jobs.train import run_training
from pairedit.measure.effect import effect
from pairedit.measure.evidence import Evidence, Reading
from pairedit.measure.intervals import at
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Unit
from pairedit.measure.unit import MOST, surer, unit_of
from pairedit.plan.use import written
from tables import put

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/people"
PAGE, MARK = ROOT / "docs/method.md", "people table"
SCALES = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 1.0)
ASKED = (0.0, 0.2, 0.4, 0.6, 1.0)  # of pairedit-eval
FIRST = 12  # people, as many as pairedit-eval takes
DRAWS = 500
NEAR = 0.1  # of a pair: what a calibrated slider is to land within


def measured(edit: str, args: argparse.Namespace) -> dict:
    """Train one slider, render people, and return what is read of each."""
    torch.set_num_threads(1)
    job = Job(method="graded", steps=args.steps, edit=edit, seed=0, pairs=3)
    plan = plan_of(job, args)
    (path,) = run_training(plan, args.work / job.name).values()
    (result,) = look(job, ["chosen"], path, plan, args.people, SCALES)
    probe = result.seen.probe
    sides = {side: probe.of(getattr(probe, side), edit)[..., 0] for side in ("before", "after")}
    read = probe.of(probe.lanes, edit)[..., 0]
    return {
        "use": written(result.subject.use),
        **{side: [round(value, 4) for value in values.tolist()] for side, values in sides.items()},
        "read": [[round(value, 3) for value in person] for person in read.tolist()],
    }


def measure(args: argparse.Namespace) -> None:
    """Measure all edits side by side, and write one file."""
    spawn = multiprocessing.get_context("spawn")  # CUDA cannot be forked
    with spawn.Pool(args.processes, maxtasksperchild=1) as pool:
        waiting = {edit: pool.apply_async(measured, (edit, args)) for edit in args.edits}
        found = {edit: one.get() for edit, one in waiting.items()}
    about = {"first seed": FIRST_SEED, "people": args.people, "scales": SCALES}
    lines = [f"{json.dumps(edit)}: {json.dumps(one)}" for edit, one in found.items()]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(lines)
    args.out.write_text(f'{{"about": {json.dumps(about)}, "edits": {{\n{body}\n}}}}\n')


def evidence(edit: str, one: Mapping, scales: tuple[float, ...]) -> Evidence:
    """Put together what an evaluation would know of these people."""
    read = torch.tensor(one["read"]).unsqueeze(-1)
    people, count, _ = read.shape
    reading = Reading(
        instrument=Instrument(read=lambda images, references: images, columns=(edit,)),
        lanes=read,
        before=torch.tensor(one["before"]).unsqueeze(-1),
        after=torch.tensor(one["after"]).unsqueeze(-1),
    )
    return Evidence(
        scales=scales,
        distance=torch.zeros(people, count, count),
        strangers=torch.zeros(people),
        pair_distance=1.0,
        attribute=edit,
        readings={"probe": reading},
    )


def drawn(seen: Evidence, order: Tensor, most: int) -> Unit | None:
    """Find the scale worth one pair as `pairedit-eval` does, from people in this order."""
    asked = seen.only([seen.scales.index(scale) for scale in ASKED])
    rest = iter(order[FIRST:].tolist())

    def more(people: int) -> Evidence:
        return asked.pick(torch.tensor([next(rest) for _ in range(people)]))

    return unit_of(surer(asked.pick(order[:FIRST]), more, most))


def rows(known: Mapping) -> Iterator[tuple[str, ...]]:
    """Yield a line for each edit and way to choose the people."""
    scales = tuple(known["about"]["scales"])
    for edit, one in known["edits"].items():
        seen = evidence(edit, one, scales)
        curve, generator = effect(seen).mean(0), torch.Generator().manual_seed(0)
        whole = unit_of(seen)
        if whole is None:
            continue
        alone = whole.error * whole.people**0.5
        orders = torch.randint(whole.people, (DRAWS, MOST), generator=generator)
        for name, most in (("12", FIRST), ("until sure", MOST)):
            units = [unit for order in orders if (unit := drawn(seen, order, most))]
            landed = torch.stack([at(scales, curve, unit.scale) for unit in units])
            away = (landed - 1).abs()
            yield (
                edit,
                f"{whole.scale:.2f}",
                f"{alone:.2f}",
                name,
                f"{sum(unit.people for unit in units) / len(units):.0f}",
                f"{float(landed.mean()):.2f}",
                f"{float(away.square().mean().sqrt()):.3f}",
                f"{100 * float((away <= NEAR).float().mean()):.0f} %",
                f"{100 * (1 - len(units) / DRAWS):.0f} %",
            )


HEADS = (
    "edit",
    "one pair at",
    "people differ by",
    "people",
    "read on average",
    "lands at",
    "misses by",
    "within 10 %",
    "no scale",
)


def text() -> str:
    """Write the table of the newest results."""
    known = json.loads(max(RESULTS.glob("*.json")).read_text())
    lines = [HEADS, ["---"] * len(HEADS), *rows(known)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def main() -> None:
    """Measure, or print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="train and render")
    parser.add_argument("--processes", type=int, default=7, help="how many edits at a time")
    parser.add_argument("--people", type=int, default=256, help="how many are rendered")
    parser.add_argument("--steps", type=int, default=150, help="of training")
    parser.add_argument("--edits", nargs="+", choices=EDITS, default=EDITS, help="what is learnt")
    parser.add_argument("--rows", type=int, default=64, help="how many rows in one pass")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--plain", dest="fast", action="store_false", help="do not use CUDA graphs")
    parser.add_argument("--work", type=Path, default=Path("outputs/people"), help="of trainings")
    parser.add_argument("--out", type=Path, help="the file to write")
    parser.add_argument("--write", action="store_true", help="put the table into docs/method.md")
    args = parser.parse_args()
    if args.measure:
        if args.out is None:
            parser.error("--measure needs --out")
        measure(args)
        return
    print(text())
    if args.write:
        put(PAGE, MARK, text())


if __name__ == "__main__":
    main()

"""Train methods on the shipped edits and measure them on unseen seeds, many jobs side by side.

    python scripts/edits_benchmark.py [--processes 12] [--gpus 1] [--minutes 9] [--work FOLDER]
                                      [--known --write docs/method.md] [--out FILE.json]

A job is one training (method, edit, training seed, number of pairs) and its measurements: plain,
local, and as the slider itself chooses to be used. A method is METHOD:STEPS, or, for a base of
another precision, METHOD:STEPS:PRECISION, such as graded:150:fp8. Jobs run in the order of their
worth: all of the first training seed come before any of the second. Each result is written as it is
found, so a call that its clock stops loses little, and the next one goes on. A job's folder holds
what pairedit-train leaves there; beside it stands its JSON. `--write PAGE` puts the table and a few
of the figures between the markers of a page. `--out FILE` keeps the figures of all jobs in one
file, such as benchmarks/results/edits/2026-11-26.json, from which `worth_table.py` fills other
pages.
"""

import argparse
import json
import math
import multiprocessing
import os
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, product
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores

import torch
from torch import Tensor

from pairedit.files import locate, replacing
from pairedit.jobs.opening import open_model
from pairedit.jobs.train import run_training
from pairedit.lora.file import read_lora
from pairedit.machine.hardware import AUTO, Hardware
from pairedit.measure import measures
from pairedit.measure.choice import by_pairs, by_trial
from pairedit.measure.effect import effect, worth
from pairedit.measure.evaluate import Result, Setting, evaluate
from pairedit.measure.evidence import Evidence
from pairedit.measure.intervals import at, crossing
from pairedit.measure.readers import AttributeProbe
from pairedit.measure.subject import Subject
from pairedit.plan.options import composed
from pairedit.plan.train import TrainPlan, plan_train
from pairedit.plan.use import written
from pairedit.settings import Use
from tables import put, weights

EDITS = ("smile", "age", "mouth_open", "eye_size", "hair_length", "beard", "glasses", "nose_width")
FAILS = "tilt"  # last in line, and in no mean
SCALES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3)
USES = ("plain", "local", "chosen")  # of the base's skip, the first two
FIRST_SEED = 7000
MATCHED = 0.4  # the gain at which sliders are compared
FLOOR = "floor"
ALONE = 1  # the pair that a single one is: that of dataset=one
FIGURES = {
    "reach": measures.best_share,
    "linearity": measures.linearity,
    "monotonicity": measures.monotonicity,
    "frontier": measures.frontier,
    "one pair at": measures.calibration,
}
# Of a page: whose figures are shown beside the table of off-target changes.
SHOWN = (("full-500", "plain"), ("graded-150", "chosen"), ("graded-150-one", "chosen"))
CARDS = "CUDA_VISIBLE_DEVICES"
CALIBRATED = 12  # seeds, as many as pairedit-eval takes
MISSES = {f"misses by, {seeds} seeds": seeds for seeds in (CALIBRATED, 32)}
SPLITS = 200
ROWS = 64  # in one pass of rendering; flux-mini is small
LAST_MOMENT = 5  # seconds that the table takes


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


def work(args: argparse.Namespace, waiting: queue.SimpleQueue, deadline: float) -> None:
    """Do jobs until none is left or the clock says so, in a process of its own or in this one."""
    torch.set_num_threads(1)
    while time.time() < deadline and (job := waiting.get()) is not None:
        try:
            do(job, args, deadline)
        except Exception as error:  # one bad job must not cost the others
            note(args.work / job.name, {"error": f"{type(error).__name__}: {error}"})


def do(job: Job, args: argparse.Namespace, deadline: float) -> None:
    """Train and measure one job, as far as that has not been done."""
    folder = args.work / job.name
    known = results(folder)
    left = [use for use in args.uses if use not in known]
    if not left:
        return
    plan = plan_of(job, args)
    started = time.time()
    (path,) = run_training(plan, folder).values()
    if "seconds" not in known:
        note(folder, {"seconds": round(time.time() - started, 1)})
    if time.time() < deadline:
        note(folder, measure(job, left, path, plan, args.seeds))


def plan_of(job: Job, args: argparse.Namespace) -> TrainPlan:
    """Plan a training as pairedit-train does, on one of the pairs where that is asked for."""
    keys = {"steps": job.steps, "seed": job.seed, "device": args.device, "resume": "auto"}
    keys |= {"save_every": 0, "preview": False, "report": False}
    plan = plan_train(
        composed("train", {"method": job.method, "dataset": job.edit}, keys),
        method_name=job.method,
    )
    pairs = plan.pairs[job.edit]
    fast = args.fast and args.device != "cpu" and torch.cuda.is_available()
    return replace(
        plan,
        pairs={job.edit: pairs[ALONE : ALONE + 1] if job.pairs == 1 else pairs},
        hardware=Hardware(fused=fast, graphs=fast, precision=job.precision),
        changes={"batch_size": args.rows},
    )


def measure(
    job: Job, uses: Sequence[str], path: Path, plan: TrainPlan, seeds: int
) -> dict[str, dict]:
    """Measure one slider in several uses."""
    model, size = plan.model, plan.preview_at.size
    base = open_model(model, device=plan.device, hardware=plan.hardware, changes=plan.changes)
    readers = {"probe": AttributeProbe().open(model=locate(model.path), size=size, device="cpu")}
    lora = read_lora(path)
    setting = Setting(
        prompts=[model.prompt],
        seeds=range(FIRST_SEED, FIRST_SEED + seeds),
        rendering=plan.preview_at,
    )
    slider = Subject(
        path=path,
        label=job.name,
        dataset=job.edit,
        pairs=plan.pairs[job.edit],
        attribute=job.edit,
        skip=plan.preview_at.skip,
    )
    asked = {"plain": Use(), "local": Use(local=True)}
    if "chosen" in uses:
        first = by_pairs(base, slider.pairs, size)
        choice = by_trial(base, slider, lora, first=first, setting=setting, readers=readers)
        asked["chosen"] = choice.use
    found = evaluate(
        base,
        [replace(slider.used(asked[use]), label=use) for use in uses],
        {path: lora},
        scales=SCALES,
        setting=setting,
        readers=readers,
        missing={},
    )
    return {
        result.subject.label: figures(result) | {"use": written(asked[result.subject.label])}
        for result in found
    }


def figures(result: Result) -> dict:
    """Read off one use of one slider; None where it does not get that far."""
    target, off = (result.summaries[each].mean for each in (measures.target, measures.off_target))
    found = {"off-target": at(SCALES, off, crossing(SCALES, target, MATCHED))}
    found |= {name: result.summaries[each].mean.nanmean() for name, each in FIGURES.items()}
    # What a perfect edit is read to move, where sliders are compared by their gain.
    compared = result.seen.match * abs(worth(result.seen) or math.nan)
    found[FLOOR] = result.summaries[measures.floor].mean * MATCHED / compared
    found["calibrated"] = calibrated(result.seen)
    found |= {name: misses(result.seen, seeds) for name, seeds in MISSES.items()}
    plain = {
        name: round(value, 4) if value == value else None
        for name, value in ((name, float(value)) for name, value in found.items())
    }
    return plain | {"target": target.tolist(), "off": off.tolist()}


def calibrated(seen: Evidence) -> float:
    """Return the effect on most seeds at the scale that the others find to be worth one pair."""
    return _carried(seen, torch.arange(len(seen.distance)), CALIBRATED)


def misses(seen: Evidence, seeds: int) -> float:
    """Return how far from one pair's worth calibrated sliders land: root mean square.

    Over random splits of the seeds: which ones calibrate is chance, and a single split shows it.
    """
    count = len(seen.distance)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(count, generator=generator) for _ in range(SPLITS)]
    if count <= seeds:
        return math.nan
    landed = torch.tensor([_carried(seen, order, seeds) for order in orders])
    # Where few seeds do not get to one pair's worth there is no scale to land at.
    known = landed[~landed.isnan()]
    return float((known - 1).square().mean().sqrt()) if len(known) > SPLITS / 2 else math.nan


def _carried(seen: Evidence, order: Tensor, seeds: int) -> float:
    """Return the effect on the later lanes at the scale that the first ones find."""
    few, most = (effect(seen.pick(part)).mean(0) for part in (order[:seeds], order[seeds:]))
    return float(at(SCALES, most, crossing(SCALES, few, 1.0)))


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


Known = dict[tuple[str, str], dict[str, list[dict]]]  # (recipe, use): edit: a result for each seed


def gathered(args: argparse.Namespace) -> Known:
    """Sort what is known of all jobs."""
    known: Known = {}
    for job in jobs(args):
        there = results(args.work / job.name)
        for use in args.uses:
            if use in there:
                by_edit = known.setdefault((job.recipe, use), {})
                by_edit.setdefault(job.edit, []).append(there[use])
    return known


def keep(args: argparse.Namespace, file: Path) -> None:
    """Write the figures of all jobs into one file, without the curves they were read off."""
    found = {}
    for job in jobs(args):
        there = results(args.work / job.name)
        found[job.name] = {
            use: {key: value for key, value in there[use].items() if key not in ("target", "off")}
            for use in args.uses
            if use in there
        }
    about = {"weights": args.work.name, "first seed": FIRST_SEED, "seeds": args.seeds}
    lines = [f"{json.dumps(name)}: {json.dumps(uses)}" for name, uses in found.items() if uses]
    file.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(lines)
    file.write_text(f'{{"about": {json.dumps(about)}, "jobs": {{\n{body}\n}}}}\n')


def mean(found: Sequence[dict], name: str) -> float | None:
    """Average a figure over training seeds; None where one of them has none."""
    values = [each.get(name) for each in found]
    return None if None in values or not values else sum(values) / len(values)


def row(
    head: Sequence[str],
    cells: dict[str, float | None],
    edits: Sequence[str],
    averaged: Sequence[str] = EDITS,
) -> str:
    """Write one line: a cell for each edit, and the mean of some if none of them lacks one."""
    counted = [cells.get(edit) for edit in edits if edit in averaged]
    average = None if None in counted or not counted else sum(counted) / len(counted)
    shown = ["--" if v is None else f"{v:.3f}" for v in (*map(cells.get, edits), average)]
    return f"| {' | '.join([*head, *shown])} |"


def floors(known: Known) -> dict[str, float | None]:
    """Say how far a perfect edit is read to move others, by edit."""
    # The same for all sliders of three pairs, which come first.
    return {e: mean(found, FLOOR) for by in reversed(known.values()) for e, found in by.items()}


def words(recipe: str) -> str:
    """Say how a slider was trained."""
    method, steps, *more = recipe.split("-")
    pairs = "one pair" if "one" in more else "three pairs"
    return ", ".join([f"`{method}`", f"{steps} steps", pairs, *(m for m in more if m != "one")])


def readable(args: argparse.Namespace) -> str:
    """Write for a page: off-target changes of all, and the figures of a few."""
    known, edits = gathered(args), args.edits
    off = {
        key: {edit: mean(found, "off-target") for edit, found in by_edit.items()}
        for key, by_edit in known.items()
    }
    reached = [e for e in EDITS if all(cells.get(e) is not None for cells in off.values())]
    rule = f"|---|---|{'---|' * (len(edits) + 1)}"
    lines = [f"| trained | used | {' | '.join(edits)} | mean of {len(reached)} |", rule]
    lines += [row((words(key[0]), key[1]), cells, edits, reached) for key, cells in off.items()]
    lines.append(row(("a perfect edit", "the floor"), floors(known), edits, reached))
    seeds = f"{len(args.training_seeds)} training seeds, {args.seeds} seeds from {FIRST_SEED}"
    lines += ["", f"Off-target change at +{MATCHED:g}; {seeds}. `--`: not reached by each of"]
    lines += [f"the training seeds. The mean is of {', '.join(reached)}, which all reach.", ""]
    lines += [f"| trained, used | figure | {' | '.join(edits)} | mean of {len(EDITS)} |", rule]
    for recipe, use in SHOWN:
        by_edit = known.get((recipe, use), {})
        for name in (*FIGURES, "calibrated", *MISSES):
            cells = {edit: mean(found, name) for edit, found in by_edit.items()}
            lines.append(row((f"{words(recipe)}, {use}", name), cells, edits))
    return "\n".join(lines) + "\n\n"


def table(args: argparse.Namespace) -> str:
    """Write what is known as Markdown."""
    known, edits = gathered(args), args.edits
    rule = f"|---|---|{'---|' * (len(edits) + 1)}"
    heads = f"{' | '.join(edits)} | mean |"
    off = {
        key: {edit: mean(found, "off-target") for edit, found in by_edit.items()}
        for key, by_edit in known.items()
    }
    lines = [f"Off-target change at +{MATCHED:g}, {args.seeds} seeds from {FIRST_SEED}.", ""]
    lines += [f"| trained | used | {heads}", rule]
    lines += [row(key, cells, edits) for key, cells in off.items()]
    lines.append(row(("a perfect edit", FLOOR), floors(known), edits))
    lines += ["", f"| trained, used | figure | {heads}", rule]
    for (recipe, use), by_edit in known.items():
        for name in (*FIGURES, "calibrated", *MISSES):
            cells = {edit: mean(found, name) for edit, found in by_edit.items()}
            lines.append(row((f"{recipe}, {use}", name), cells, edits))
    lines += ["", "How sliders chose to be used, by training seed:", ""]
    lines += [
        f"- {recipe}, {edit}: {'; '.join(each['use'] for each in found)}"
        for (recipe, use), by_edit in known.items()
        if use == "chosen"
        for edit, found in by_edit.items()
    ]
    errors = [f"{job.name}: {there['error']}" for job in jobs(args)
              if "error" in (there := results(args.work / job.name))]  # fmt: skip
    done = sum(map(len, (found for by_edit in known.values() for found in by_edit.values())))
    asked = len(jobs(args)) * len(args.uses)
    return "\n".join([*lines, "", f"{done} of {asked} results.", *errors]) + "\n"


def cards(gpus: int) -> list[str]:
    """Name the GPUs to spread processes over, of those that this one may see."""
    seen = os.environ.get(CARDS)
    return seen.split(",")[:gpus] if seen else [str(card) for card in range(gpus)]


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("outputs/edits"))
    parser.add_argument("--processes", type=int, default=12, help="0: this one alone")
    parser.add_argument("--gpus", type=int, default=1, help="that the processes are spread over")
    parser.add_argument("--minutes", type=float, default=9.0, help="stop then, whatever is left")
    parser.add_argument("--methods", nargs="*", default=["full:500", "graded:150", "fm:500"])
    parser.add_argument("--one", nargs="*", default=["graded:150"], help="trained on one pair")
    parser.add_argument("--edits", nargs="+", choices=(*EDITS, FAILS), default=[*EDITS, FAILS])
    parser.add_argument("--training-seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--uses", nargs="+", choices=USES, default=list(USES))
    parser.add_argument("--rows", type=int, default=ROWS, help="in one pass of rendering")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--plain", dest="fast", action="store_false", help="without CUDA graphs")
    parser.add_argument("--known", action="store_true", help="train and measure nothing new")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="with markers of `benchmark`")
    parser.add_argument("--out", type=Path, metavar="FILE", help="for the figures of all jobs")
    args = parser.parse_args()
    args.work = args.work / weights()
    if not args.known:
        run(args)
    print(table(args))
    if args.out:
        keep(args, args.out)
    if args.write:
        put(args.write, "benchmark", readable(args))


def run(args: argparse.Namespace) -> None:
    """Share the jobs among processes; stop those that outlast the clock."""
    deadline = time.time() + 60 * args.minutes - LAST_MOMENT
    if not args.processes:
        alone: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        for job in [*jobs(args), None]:
            alone.put(job)
        work(args, alone, deadline)
        return
    spawn = multiprocessing.get_context("spawn")  # CUDA cannot be forked
    waiting = spawn.Queue()
    for job in [*jobs(args), *[None] * args.processes]:
        waiting.put(job)
    workers = [
        spawn.Process(target=work, args=(args, waiting, deadline)) for _ in range(args.processes)
    ]
    for worker, card in zip(workers, cycle(cards(args.gpus)), strict=False):
        os.environ[CARDS] = card  # read when a process begins: it sees this one alone
        worker.start()
    for worker in workers:
        worker.join(max(0.0, deadline - time.time()))
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
            worker.join()
    waiting.cancel_join_thread()


if __name__ == "__main__":
    main()

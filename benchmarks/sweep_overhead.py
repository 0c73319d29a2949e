"""Measure what a launcher costs for each job, and what a report of many sliders costs.

    python benchmarks/sweep_overhead.py --work /tmp/overhead [--jobs 200] [--launchers basic,joblib]
    python benchmarks/sweep_overhead.py --work /tmp/overhead --sliders 200
    python benchmarks/sweep_overhead.py --work /tmp/overhead --write

Jobs are trainings of two steps on a tiny random FLUX, on the CPU. Sliders of the report are drawn
faces of flux-mini's world at 128 px: 12 seeds, 5 scales; nothing is trained or rendered for them.
WORK/sweep_overhead.json holds the figures of all calls, each beside its date, its command and the
load of the machine before it. --write measures nothing: it copies them to benchmarks/results/sweeps
and writes the table of docs/sweep.md. `joblib` needs `pip install 'pairedit[joblib]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

NOTES = "sweep_overhead.json"  # in the folder of the sweeps
TRAIN = "from pairedit.cli import train; train()"
SCALES = (0.0, 0.2, 0.4, 0.6, 1.0)
ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks/results/sweeps", ROOT / "docs/sweep.md"
BEGIN, END = "<!-- overhead: begin -->\n", "<!-- overhead: end -->"


def main() -> None:
    """Measure what is asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for the sweeps")
    parser.add_argument("--jobs", type=int, default=200, help="how many jobs a sweep has")
    parser.add_argument("--launchers", default="basic,joblib", help="the launchers to measure")
    parser.add_argument("--sliders", type=int, help="measure a report of so many sliders instead")
    parser.add_argument("--write", action="store_true", help="keep the figures, write the page")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.write:
        _write(json.loads((given.work / NOTES).read_text()))
        return
    if given.sliders:
        _note(given.work, "report", partial(_report, given.work, given.sliders))
        return
    for name in given.launchers.split(","):
        _note(given.work, name, partial(_jobs, given.work, name, given.jobs))


def _note(work: Path, name: str, measure: Callable[[], Mapping[str, float]]) -> None:
    """Measure, print the figures, and write them beside those of other calls."""
    about = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "command": " ".join(["python", *sys.argv]),
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 1),
    }
    figures = measure()
    print(json.dumps({name: figures}), flush=True)
    notes = work / NOTES
    found = json.loads(notes.read_text()) if notes.is_file() else {}
    notes.write_text(json.dumps(found | {name: about | figures}, indent=1) + "\n")


def _write(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what was found under its date, and write the table of the page."""
    date = max(each["date"][:10] for each in found.values())
    (RESULTS / f"overhead-{date}.json").write_text(json.dumps(found, indent=1) + "\n")
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + text(found) + END + rest.split(END)[1])


def text(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the table of the page."""
    basic, joblib, report = (found[name] for name in ("basic", "joblib", "report"))
    count, inside = basic["jobs"], f"of which {basic['seconds inside a job']:.2f} s lie inside it"
    many, longer = f"{report['sliders']} sliders", report.get("seconds to open in Chromium")
    # Only measured where there is a Chromium.
    opened = (
        {} if longer is None else {"to open it in Chromium": f"{longer} s more than an empty page"}
    )
    rows = {
        f"{count} jobs of two steps on a tiny model, one after the other (`basic`)": (
            f"{basic['seconds']:.0f} s: {basic['seconds a job']:.2f} s a job, {inside}"
        ),
        f"{joblib['jobs']} such jobs, two at a time (`joblib`), on the same two cores": (
            f"{joblib['seconds']:.0f} s: {joblib['seconds a job']:.2f} s a job"
        ),
        "to measure a slider from its images (12 seeds, 5 scales, 128 px)": (
            f"{report['seconds a slider']:.2f} s"
        ),
        f"to write the report of {many}": (
            f"{report['seconds to write']:.0f} s; it has {report['report, MB']} MB"
        ),
        **opened,
        f"`eval.csv` of {many}": f"{report['eval.csv, MB']} MB",
        f"memory that measuring {many} takes": (
            f"{report['MB more after that']} MB, because their readings stay in their files"
        ),
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]
    dates = sorted({each["date"][:10] for each in (basic, joblib, report)})
    commands = dict.fromkeys(f"`{each['command']}`" for each in (basic, joblib, report))
    loads = ", ".join(str(each["load before"]) for each in (basic, joblib, report))
    lines += [f"Measured on {' and '.join(dates)} by {' and '.join(commands)}.", ""]
    lines += [f"The load of the machine was {loads} before the three measurements."]
    return "\n".join([*lines, ""])


def _jobs(work: Path, launcher: str, count: int) -> dict[str, float]:
    """Run a sweep of tiny jobs; return its seconds, and those of a job."""
    from pairedit.mini.untrained import TINY, networks, pipeline

    model = work / "model"
    if not model.is_dir():
        pipeline(TINY, networks(TINY)).save_pretrained(model)
    started = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-c", TRAIN, "-m", f"hydra/launcher={launcher}"),
            *(f"hydra.sweep.dir={work / launcher}", f"model.path={model}", "resolution=32"),
            *("model.max_sequence_length=32", "num_inference_steps=4", "device=cpu", "steps=2"),
            *("lora.rank=2", "preview=false", "report=false", f"seed=range({count})"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - started
    notes = [json.loads(path.read_text()) for path in (work / launcher).glob("*/job.json")]
    inside = sum(note["seconds"] for note in notes)
    return {
        "jobs": count,
        "seconds": round(seconds, 1),
        "seconds a job": round(seconds / count, 3),
        "seconds inside a job": round(inside / count, 3),
    }


def _report(work: Path, count: int) -> dict[str, float]:
    """Measure so many sliders and write their report; return its seconds and size."""
    import torch

    from pairedit.data.images import to_image
    from pairedit.jobs.eval import write_files
    from pairedit.jobs.sheets import by_edit, shown_of, sized
    from pairedit.measure.evaluate import measure_slider
    from pairedit.measure.kept import keep, kept
    from pairedit.measure.report import Plate
    from pairedit.measure.subject import Subject
    from pairedit.mini.faces import render, sample_attributes
    from pairedit.sample import Sample

    faces = render(sample_attributes(60, torch.Generator().manual_seed(0))) * 2 - 1
    images = [to_image(face.float()) for face in faces]
    subjects = [
        Subject(
            path=work / f"{n}.safetensors", label=f"full cfg_eta={n}", dataset="smile", pairs=[],
            attribute=None, skip=10, method="full", swept={"cfg_eta": str(n)},
        )
        for n in range(count)
    ]  # fmt: skip
    before, measured = _memory(), time.perf_counter()
    for n, subject in enumerate(subjects):
        samples = {
            (lane, k): Sample(
                seed=lane, prompt="a person", column=k, scales=(scale,),
                image=images[(lane * 5 + k + n) % 60],
            )
            for lane in range(12) for k, scale in enumerate(SCALES)
        }  # fmt: skip
        found = measure_slider(subject, samples, SCALES, (128, 128), {}, {})
        keep(shown_of(found, 0), work / str(n), mark="", settled=False)
    after, started = _memory(), time.perf_counter()
    results = [found for s in subjects if (found := kept(s, work / s.path.stem, ""))]
    settings = {"match": 0.5, "model": "flux-mini", "seeds": list(range(12))}
    settings |= {"prompts": ["a person"], "num_inference_steps": 28, "resolution": 128}
    captions = ["base", *(f"full cfg_eta={n}" for n in range(14))]
    plate = Plate(rows=[images[:15]] * 4, labels=[f"seed {n}" for n in range(4)], captions=captions)
    write_files(work, by_edit(sized(results)), {"smile": plate}, settings, [])
    return {
        "sliders": len(results),
        "seconds to measure": round(started - measured, 1),
        "seconds a slider": round((started - measured) / count, 2),
        "MB more after that": round(after - before),
        "seconds to write": round(time.perf_counter() - started, 1),
        "report, MB": round((work / "report.html").stat().st_size / 1e6, 1),
        "eval.csv, MB": round((work / "eval.csv").stat().st_size / 1e6, 1),
        **_opened(work / "report.html"),
    }


def _opened(page: Path) -> dict[str, float]:
    """Return how much longer Chromium takes for a page than for an empty one, if it is here."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        return {}
    empty = page.with_name("empty.html")
    empty.write_text("<!doctype html>")
    words = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    took = {}
    for each in (empty, page) * 3:
        started = time.perf_counter()
        subprocess.run([*words, each.resolve().as_uri()], check=True, capture_output=True)
        took[each] = min(took.get(each, float("inf")), time.perf_counter() - started)
    return {"seconds to open in Chromium": round(took[page] - took[empty], 1)}


def _memory() -> float:
    """Return the MB that this process holds at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

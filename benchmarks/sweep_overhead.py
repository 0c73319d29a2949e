"""Measure what a launcher costs for each job, and what a report of many sliders costs.

    python benchmarks/sweep_overhead.py --work /tmp/overhead [--jobs 200] [--launchers basic,joblib]
    python benchmarks/sweep_overhead.py --work /tmp/overhead --sliders 200

Jobs are trainings of two steps on a tiny random FLUX, on the CPU. Sliders of the report are drawn
faces of flux-mini's world at 128 px: 12 seeds, 5 scales; nothing is trained or rendered for them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

TRAIN = "from pairedit.cli import train; train()"
SCALES = (0.0, 0.2, 0.4, 0.6, 1.0)


def main() -> None:
    """Measure what is asked for, and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder for the sweeps")
    parser.add_argument("--jobs", type=int, default=200, help="how many jobs a sweep has")
    parser.add_argument("--launchers", default="basic,joblib", help="the launchers to measure")
    parser.add_argument("--sliders", type=int, help="measure a report of so many sliders instead")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.sliders:
        print(json.dumps(_report(given.work, given.sliders)), flush=True)
        return
    for name in given.launchers.split(","):
        print(json.dumps({"launcher": name, **_jobs(given.work, name, given.jobs)}), flush=True)


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
        "MB more after that": round(after - before),
        "seconds to write": round(time.perf_counter() - started, 1),
        "report, MB": round((work / "report.html").stat().st_size / 1e6, 1),
        "eval.csv, MB": round((work / "eval.csv").stat().st_size / 1e6, 1),
    }


def _memory() -> float:
    """Return the MB that this process holds at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

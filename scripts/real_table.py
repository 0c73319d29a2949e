"""Measure every way of editing a photograph: reconstruction, cost, and what an edit changes.

    python scripts/real_table.py [--work outputs/real] [--faces 32] [--write]

Unseen portraits stand for photographs; see real_faces.py. What the work folder already holds is
kept, so an interrupted call goes on. `--devices auto auto cpu` trains three LoRAs at once, one of
them on the CPU. `--write` puts the tables between the markers in docs/real.md.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean as mean

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does

import torch
from tqdm import tqdm

from pairedit.bases.base import Base, Model
from pairedit.data.images import load_image, to_tensor
from pairedit.edits import Photo, RealImage
from pairedit.flow import Flow
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora
from pairedit.lora.rows import Row
from pairedit.measure.intervals import at, crossing
from pairedit.mini.probe import read
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering
from real_faces import (
    EDITS,
    PAGE,
    TOGETHER,
    autoencoded,
    changes,
    decibels,
    faces,
    interval,
    options,
    size_of,
)
from tables import digest, kept, mini, put, train, weights

ITERATIONS = (0, 1, 2, 4)
WAYS = {
    **{f"ode, iterations={k}": RealImage(inversion="ode", iterations=k) for k in ITERATIONS},
    "lora": RealImage(inversion="lora"),
    "both": RealImage(inversion="both"),
    "published": RealImage(inversion="lora", published=True, semantic_cfg_scale=0.75),
}


def machine() -> str:
    """Name what this process computes on."""
    if torch.cuda.is_available():
        return f"an {torch.cuda.get_device_name()}"
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'s' if threads > 1 else ''}"


@contextmanager
def counted(base: Base):
    """Count the rows that go through the transformer within the block: {"passes": n}."""
    found = {"passes": 0}

    def hook(module, positional, named) -> None:
        found["passes"] += len(named["hidden_states"])

    handle = base.transformer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


@torch.no_grad()
def reconstruct(base: Base, model: Model, images: torch.Tensor, iterations: int) -> dict:
    """Find the noise of photographs at sigma = 1, and sample from it without any LoRA."""
    found, passes, started = [], 0, time.perf_counter()
    adapters = Adapters(base)
    with base.sampling() as run:
        for part in images.split(TOGETHER):
            flow = Flow(
                base=base,
                adapters=adapters,
                text=base.text([""]),
                sigmas=base.sigmas(size_of(model), model.num_inference_steps),
                guidance_scale=model.guidance_scale,
                run=run,
                progress=tqdm(disable=True),
            )
            plain = [[(1.0, Row(), "")]] * len(part)
            with counted(base) as counter:
                noise = flow.backwards(base.encode(part).mean, plain, 0, iterations)
            passes += counter["passes"]
            image = flow.forwards(noise, plain, 0, model.num_inference_steps)
            found.append(base.decode(image))
    adapters.remove()
    return {
        "passes": passes / len(images),
        "seconds": (time.perf_counter() - started) / len(images),
        "machine": machine(),
        "decibel": decibels(torch.cat(found), autoencoded(base, images)),
    }


def edit_faces(
    base: Base, model: Model, edit: str, way: RealImage, photos: list[Photo], lora: Path
) -> dict:
    """Edit photographs one way; changes are read against the photographs themselves."""
    skip, scales, _ = EDITS[edit]
    base.hardware = replace(base.hardware, batch_size=TOGETHER * len(scales))
    started = time.perf_counter()
    with counted(base) as counter:
        samples = list(
            generate(
                base,
                sliders=[Slider(lora=read_lora(lora), scales=scales)],
                prompts=[""],
                seeds=[None if way.inversion in ("ode", "both") else 0],
                rendering=Rendering(
                    skip=skip,
                    num_inference_steps=model.num_inference_steps,
                    guidance_scale=model.guidance_scale,
                    size=size_of(model),
                ),
                edit=way,
                photos=photos,
            )
        )
    seconds = time.perf_counter() - started
    drawn = torch.stack([to_tensor(sample.image) for sample in samples])
    images = torch.stack([to_tensor(photo.image) for photo in photos])
    grid = read(drawn).unflatten(0, (len(photos), len(scales)))
    target, off = changes(grid, read(images), edit)
    at_zero = drawn.unflatten(0, (len(photos), len(scales)))[:, 0]
    return {
        "passes": counter["passes"] / len(photos),
        "seconds": seconds / len(photos),
        "machine": machine(),
        "decibel": decibels(at_zero, autoencoded(base, images)),
        "target": target.mean(0).tolist(),
        "target_interval": [interval(column) for column in target.T],
        "off_target": off.mean(0).tolist(),
    }


def autoencoder(base: Base, images: torch.Tensor) -> dict:
    """Measure what the VAE alone changes."""
    alone = autoencoded(base, images)
    values, before = read(alone)[:, None], read(images)
    return {
        "decibel": decibels(alone, images),
        "off_target": {edit: float(changes(values, before, edit)[1].mean()) for edit in EDITS},
    }


def training(loras: list[Path]) -> dict:
    """Return how long the training of these LoRAs took on average."""
    lines = [(path.parent / "metrics.jsonl").read_text().splitlines()[-1] for path in loras]
    last = [json.loads(line) for line in lines]
    seconds = mean([line["seconds"] for line in last])
    return {"steps": last[0]["step"], "seconds": seconds}


def of_one(rows: dict) -> str:
    """Say what seconds are of."""
    machines = " and ".join(sorted({row["machine"] for row in rows.values()}))
    return f"for one photograph, as its share of a batch of {TOGETHER}, on {machines}"


def reconstruction_table(rows: dict[int, dict], number: int) -> str:
    """Write the reconstruction from the noise at sigma = 1."""
    lines = [
        "| iterations | passes | seconds | dB, mean | dB, worst face |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {k} | {row['passes']:.0f} | {row['seconds']:.2f} | {mean(row['decibel']):.1f} "
        f"| {min(row['decibel']):.1f} |"
        for k, row in rows.items()
    ]
    note = (
        f"{number} faces, `skip=0`, 28 steps, base model alone. `passes` are those from the "
        "photograph to its noise. `seconds` are for the way to the noise and back. They are "
        f"{of_one(rows)}."
    )
    return "\n".join([*lines, "", note, "", ""])


def edit_table(edit: str, rows: dict[str, dict], number: int) -> str:
    """Write one edit's results."""
    skip, scales, gain = EDITS[edit]
    lines = [
        f"| {edit} | passes | seconds | dB at scale 0, mean (worst) | off-target at scale 0 "
        f"| target / off-target at {scales[3]:g} | off-target at +{gain:g} |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, row in rows.items():
        target, off = torch.tensor(row["target"]), torch.tensor(row["off_target"])
        reached = crossing(scales, target, gain)
        matched = "not reached" if reached.isnan() else f"**{at(scales, off, reached):.3f}**"
        lines.append(
            f"| `{way}` | {row['passes']:.0f} | {row['seconds']:.2f} | {mean(row['decibel']):.1f} "
            f"({min(row['decibel']):.1f}) | {row['off_target'][0]:.3f} | {row['target'][3]:+.2f} / "
            f"{row['off_target'][3]:.3f} | {matched} |"
        )
    wide = max((high - low) / 2 for row in rows.values() for low, high in row["target_interval"])
    note = (
        f"{number} faces, `skip={skip}`. `passes` and `seconds` are for all {len(scales)} scales "
        f"together. They are {of_one(rows)}. 95 % bootstrap intervals of the target changes are "
        f"at most ±{wide:.2f}."
    )
    return "\n".join([*lines, "", note, "", ""])


def last_note(alone: dict, trained: dict) -> str:
    """Write what holds for every edit."""
    moved = ", ".join(f"{value:.3f} ({edit})" for edit, value in alone["off_target"].items())
    return (
        f"The VAE alone is {mean(alone['decibel']):.1f} dB from the photographs, and moves what "
        f"the probe reads by {moved}. A content LoRA took {trained['steps']} steps in "
        f"{trained['seconds']:.0f} s.\n"
    )


def main() -> None:
    """Train, measure, print, write."""
    parser = options(__doc__, Path("outputs/real"))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="in which ways")
    parser.add_argument(
        "--words", nargs="+", default=[], help="further keys of the trainings, such as steps=20"
    )
    parser.add_argument(
        "--devices", nargs="+", default=["auto"], help="the devices that train at the same time"
    )
    args = parser.parse_args()
    work = args.work / digest(repr((weights(), args.words)))
    paths = faces(args.faces, work / "faces")
    sliders = {edit: work / edit / edit / "semantic.safetensors" for edit in args.edits}
    contents = [work / path.stem / path.stem / "content.safetensors" for path in paths]
    folder = f"images={paths[0].parent.resolve()}"
    runs = {
        **{path: [f"dataset={edit}"] for edit, path in sliders.items()},
        **{
            path: ["method=inversion", "dataset=images", folder, f"image_ids=[{path.parent.name}]"]
            for path in contents
        },
    }
    missing = {} if args.known else {path: runs[path] for path in runs if not path.is_file()}
    train({p.parents[1]: [*words, *args.words] for p, words in missing.items()}, args.devices)
    model, base = mini()
    images = torch.stack([to_tensor(load_image(path, size_of(model))) for path in paths])
    if base.device.type == "cuda" and not args.known:
        # A GPU's first passes would count as an edit's seconds.
        reconstruct(base, model, images[:1], 0)

    def known(name: str, make: Callable[[], dict], *asked: object) -> dict | None:
        """Return a figure, made where it is not there yet unless only known ones are wanted."""
        file = work / f"{name}-{digest(repr((args.faces, asked)))}.json"
        return kept(file, make) if file.is_file() or not args.known else None

    trained = known("training", lambda: training(contents))
    alone = known("autoencoder", lambda: autoencoder(base, images))
    back = {
        k: known(f"reconstruction-{k}", lambda k=k: reconstruct(base, model, images, k))
        for k in ITERATIONS
    }
    text = reconstruction_table({k: row for k, row in back.items() if row}, args.faces)
    for edit, slider in sliders.items():

        def measured(way: RealImage, edit: str = edit, slider: Path = slider) -> dict:
            photos = [
                Photo(
                    path=path,
                    image=load_image(path, size_of(model)),
                    content=None if way.inversion == "ode" else read_lora(content),
                )
                for path, content in zip(paths, contents, strict=True)
            ]
            return edit_faces(base, model, edit, way, photos, slider)

        rows = {}
        for name in args.ways:
            way = WAYS[name]
            place = f"{edit}-{name}".replace(", ", "-")
            rows[name] = known(place, lambda way=way: measured(way), EDITS[edit][:2], way)
        text += edit_table(edit, {name: row for name, row in rows.items() if row}, args.faces)
    text += last_note(alone, trained) + "\n"
    print(text)
    if args.write:
        put(PAGE, "real table", text)


if __name__ == "__main__":
    main()

"""Measure every way of editing a photograph: reconstruction, cost, and what an edit changes.

    python scripts/real_table.py [--work outputs/real] [--faces 32] [--write]

Portraits from seeds that no training of flux-mini saw stand for photographs, because only on them
the probe knows the truth. What the work folder already holds is kept, so an interrupted call goes
on. `--write` puts the tables between the markers in docs/real.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the commands do

import torch
import yaml
from tqdm import tqdm

from pairedit import flux
from pairedit.adapters import Adapters, Row
from pairedit.config import CONF, Model, locate
from pairedit.data import load_image, to_image, to_tensor
from pairedit.edits import RealImage
from pairedit.evidence import at, crossing
from pairedit.faces import ATTRIBUTES, INDEX, TIED, render, sample_attributes
from pairedit.flow import Flow
from pairedit.lora import read_lora
from pairedit.photos import Photo
from pairedit.probe import read
from pairedit.sample import Slider, generate

PAGE = Path(__file__).parents[1] / "docs" / "real.md"
BEGIN, END = "<!-- real table: begin -->\n", "<!-- real table: end -->"
FIRST_SEED = 60_000_000  # beyond every seed of training and of data/real
# edit -> skip, scales, the gain at which ways are compared. As in scripts/methods_table.py.
EDITS = {
    "age": (18, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65), 0.3),
    "smile": (11, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65), 0.15),
}
ROOM = 0.35  # a face is taken if its attributes lie below: it can still age, and smile
WAYS = {
    **{f"ode, iterations={k}": RealImage(inversion="ode", iterations=k) for k in (0, 1, 2, 4)},
    "lora": RealImage(inversion="lora"),
    "both": RealImage(inversion="both"),
    "published": RealImage(inversion="lora", published=True, semantic_cfg_scale=0.75),
}
ITERATIONS = (0, 1, 2, 4)


def command(*words: str) -> None:
    """Run pairedit-train."""
    subprocess.run([Path(sys.executable).with_name("pairedit-train"), *words], check=True)


def faces(number: int, folder: Path) -> list[Path]:
    """Render the first unseen people that have room for every edit; return their files."""
    chosen: list[Path] = []
    for seed in count(FIRST_SEED):
        if len(chosen) == number:
            return chosen
        face = sample_attributes(1, torch.Generator().manual_seed(seed))
        if any(face[0, INDEX[edit]] > ROOM for edit in EDITS):
            continue
        chosen.append(folder / f"{seed - FIRST_SEED}.png")
        if not chosen[-1].is_file():
            folder.mkdir(parents=True, exist_ok=True)
            to_image(render(face)[0].float() * 2 - 1).save(chosen[-1])
    raise AssertionError


def content_loras(paths: list[Path], work: Path) -> dict[str, Path]:
    """Train the content LoRA of every face that lacks one; note the seconds of each."""
    folder = work / "content"
    loras = {path.stem: folder / path.stem / "content.safetensors" for path in paths}
    missing = [stem for stem, path in loras.items() if not path.is_file()]
    if missing:
        options = [f"images={paths[0].parent.resolve()}", f"image_ids=[{','.join(missing)}]"]
        command("method=inversion", "dataset=images", *options, "preview=false",
                f"hydra.run.dir={folder}")  # fmt: skip
    return loras


def training_seconds(loras: list[Path]) -> float:
    """Return the mean seconds that the training of these LoRAs took."""
    lines = [(path.parent / "metrics.jsonl").read_text().splitlines()[-1] for path in loras]
    return sum(json.loads(line)["seconds"] for line in lines) / len(lines)


def settings() -> Model:
    """Return flux-mini's settings."""
    values = yaml.safe_load((CONF / "model" / "flux-mini.yaml").read_text())
    return Model(**{key: value for key, value in values.items() if key != "_target_"})


@contextmanager
def counted(base: flux.Flux):
    """Count the rows that go through the transformer within the block: {"passes": n}."""
    found = {"passes": 0}

    def hook(module, positional, named) -> None:
        found["passes"] += len(named["hidden_states"])

    handle = base.transformer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def decibels(left: torch.Tensor, right: torch.Tensor) -> list[float]:
    """Return the peak signal-to-noise ratio of each image pair [N, 3, H, W] in [-1, 1]."""
    error = ((left.clamp(-1, 1) - right.clamp(-1, 1)) / 2).square().mean((1, 2, 3))
    return (-10 * error.clamp(min=1e-10).log10()).tolist()


def autoencoded(base: flux.Flux, images: torch.Tensor) -> torch.Tensor:
    """Return what the VAE alone makes of images."""
    return torch.cat([base.decode(base.encode(part).mean) for part in images.split(8)])


@torch.no_grad()
def reconstruct(base: flux.Flux, model: Model, paths: list[Path], iterations: int) -> dict:
    """Find the noise of photographs at sigma = 1, and sample from it without any LoRA."""
    images = torch.stack([to_tensor(load_image(path, model.resolution)) for path in paths])
    found, passes, started = [], 0, time.perf_counter()
    adapters = Adapters(base.transformer)
    for part in images.split(8):
        flow = Flow(
            flux=base,
            adapters=adapters,
            text=base.encode_prompt([""] * len(part)),
            sigmas=base.sigmas(model.resolution, model.num_inference_steps),
            guidance_scale=model.guidance_scale,
            progress=tqdm(disable=True),
        )
        plain = [[(1.0, Row())]] * len(part)
        with counted(base) as counter:
            noise = flow.backwards(base.encode(part).mean, plain, 0, iterations)
        passes += counter["passes"]
        image = flow.forwards(noise, plain, 0, model.num_inference_steps)
        found.append(base.decode(image))
    adapters.remove()
    return {
        "passes": passes / len(paths),
        "seconds": (time.perf_counter() - started) / len(paths),
        "decibel": decibels(torch.cat(found), autoencoded(base, images)),
    }


def edit_faces(
    base: flux.Flux, model: Model, edit: str, way: RealImage, photos: list[Photo], lora: Path
) -> dict:
    """Edit photographs one way; changes are read against the photographs themselves."""
    skip, scales, gain = EDITS[edit]
    started = time.perf_counter()
    with counted(base) as counter:
        samples = list(
            generate(
                base,
                sliders=[Slider(lora=read_lora(lora), scales=scales)],
                prompts=[""],
                seeds=[None if way.inversion in ("ode", "both") else 0],
                skip=skip,
                num_inference_steps=model.num_inference_steps,
                guidance_scale=model.guidance_scale,
                resolution=model.resolution,
                batch_size=3 * len(scales),
                edit=way,
                photos=photos,
            )
        )
    seconds = time.perf_counter() - started
    drawn = torch.stack([to_tensor(sample.image) for sample in samples])
    images = torch.stack([to_tensor(photo.image) for photo in photos])
    grid = read(drawn).unflatten(0, (len(photos), len(scales)))
    target, off = changes(grid, read(images), edit)
    reached = crossing(scales, target.mean(0), gain)
    at_zero = drawn.unflatten(0, (len(photos), len(scales)))[:, 0]
    return {
        "passes": counter["passes"] / len(photos),
        "seconds": seconds / len(photos),
        "decibel": decibels(at_zero, autoencoded(base, images)),
        "target": target.mean(0).tolist(),
        "target_interval": [interval(column) for column in target.T],
        "off_target": off.mean(0).tolist(),
        "matched": None if reached.isnan() else float(at(scales, off.mean(0), reached)),
    }


def changes(
    values: torch.Tensor, before: torch.Tensor, edit: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return target and off-target change [N, K] of attributes [N, K, A] against [N, A]."""
    moved = values - before[:, None]
    others = [INDEX[name] for name in ATTRIBUTES if name != edit and name not in TIED[edit]]
    return moved[..., INDEX[edit]], moved[..., others].abs().mean(-1)


def interval(values: torch.Tensor) -> list[float]:
    """Return the 95 % bootstrap interval of the mean of `values` [N]."""
    picked = torch.randint(len(values), (1000, len(values)), generator=torch.manual_seed(0))
    return torch.quantile(values[picked].mean(1), torch.tensor([0.025, 0.975])).tolist()


def kept(path: Path, make) -> dict:
    """Return what a file holds, made first if it is not there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make(), indent=1))
    return json.loads(path.read_text())


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def reconstruction_table(rows: dict[int, dict], number: int) -> str:
    """Write the reconstruction from the noise at sigma = 1."""
    lines = [
        "| iterations | passes | seconds | dB, mean | dB, worst face |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {k} | {row['passes']:.0f} | {row['seconds']:.1f} | {mean(row['decibel']):.1f} "
        f"| {min(row['decibel']):.1f} |"
        for k, row in rows.items()
    ]
    return "\n".join([*lines, "", f"{number} faces, `skip=0`, 28 steps, base model alone.", "", ""])


def edit_table(edit: str, rows: dict[str, dict], extra: dict) -> str:
    """Write one edit's results."""
    skip, scales, gain = EDITS[edit]
    lines = [
        f"| {edit} | passes | seconds | dB at scale 0, mean (worst) | off-target at scale 0 "
        f"| target / off-target at {scales[3]:g} | off-target at +{gain:g} |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, row in rows.items():
        matched = "not reached" if row["matched"] is None else f"**{row['matched']:.3f}**"
        lines.append(
            f"| `{way}` | {row['passes']:.0f} | {row['seconds']:.1f} | {mean(row['decibel']):.1f} "
            f"({min(row['decibel']):.1f}) | {row['off_target'][0]:.3f} | {row['target'][3]:+.2f} / "
            f"{row['off_target'][3]:.3f} | {matched} |"
        )
    wide = max((high - low) / 2 for row in rows.values() for low, high in row["target_interval"])
    note = (
        f"{extra['faces']} faces, `skip={skip}`; passes and seconds: one photograph at all "
        f"{len(scales)} scales. 95 % bootstrap intervals of the target changes are at most "
        f"±{wide:.2f}. A content LoRA took {extra['training']:.0f} s an image to train. The VAE "
        f"alone is {extra['decibel']:.1f} dB from the photographs, and moves what the probe reads "
        f"by {extra['autoencoder']:.3f}."
    )
    return "\n".join([*lines, "", note, "", ""])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("outputs/real"))
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--edits", nargs="+", choices=EDITS, default=list(EDITS))
    parser.add_argument("--lora", type=Path, help="folder with full-<edit>/<edit>/*.safetensors")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/real.md")
    args = parser.parse_args()
    model = settings()
    base = flux.load(
        str(locate(model.path)),
        device="cpu",
        precision="float32",
        max_sequence_length=model.max_sequence_length,
    )
    paths = faces(args.faces, args.work / "faces")
    rows = {
        k: kept(
            args.work / f"reconstruction-{args.faces}-{k}.json",
            lambda k=k: reconstruct(base, model, paths, k),
        )
        for k in ITERATIONS
    }
    text = reconstruction_table(rows, args.faces)
    loras = content_loras(paths, args.work)
    photos = {
        content: [
            Photo(
                path=path,
                image=load_image(path, model.resolution),
                content=read_lora(loras[path.stem]) if content else None,
            )
            for path in paths
        ]
        for content in (False, True)
    }
    for edit in args.edits:
        place = args.work / f"{edit}-{args.faces}"
        slider = (args.lora or args.work / "loras") / f"full-{edit}" / edit / "semantic.safetensors"
        if not slider.is_file():
            command(f"dataset={edit}", "preview=false", f"hydra.run.dir={slider.parents[1]}")
        results = {
            way: kept(
                place / f"{way}.json".replace(", ", "-"),
                lambda edit=edit, chosen=chosen, slider=slider: edit_faces(
                    base, model, edit, chosen, photos[chosen.inversion != "ode"], slider
                ),
            )
            for way, chosen in WAYS.items()
        }
        images = torch.stack([to_tensor(photo.image) for photo in photos[False]])
        alone = autoencoded(base, images)
        extra = {
            "faces": args.faces,
            "training": training_seconds([loras[path.stem] for path in paths]),
            "autoencoder": float(changes(read(alone)[:, None], read(images), edit)[1].mean()),
            "decibel": mean(decibels(alone, images)),
        }
        text += edit_table(edit, results, extra)
    print(text)
    if args.write:
        page = PAGE.read_text()
        before, rest = page.split(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()

"""Look at a small model as pairedit opens it: a sheet of faces, and what the probe reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image
from scripts.small_bases.words import LENGTH

from pairedit.bases.base import Base, Loadable
from pairedit.files import CONF
from pairedit.machine.hardware import Hardware
from pairedit.mini.faces import INDEX
from pairedit.mini.probe import load as load_probe
from pairedit.plan.build import build
from pairedit.sample import generate
from pairedit.settings import Rendering

PROMPTS = ("", "image of a person", "image of a person, with glasses", "image of a person, old",
           "image of a person, smiling")  # fmt: skip
SHOWN = ("glasses", "age", "smile")
SEEDS, WIDE, TOGETHER = 32, 8, 64


def words_of(option: str, folder: Path, guidance_scale: float) -> list[str]:
    """Return the words of a command line that open a small model."""
    return [
        f"model={option}",
        f"model.path={folder.resolve()}",
        f"model.max_sequence_length={LENGTH}",
        "model.precision=float32",
        "model.prompt='image of a person'",
        "resolution=128",
        "num_inference_steps=28",
        f"guidance_scale={guidance_scale}",
    ]


def open_small(option: str, folder: Path, device: torch.device) -> Base:
    """Open a small model through its option of `conf/model`."""
    values = yaml.safe_load((CONF / f"model/{option}.yaml").read_text(encoding="utf-8"))
    values |= {"path": str(folder), "max_sequence_length": LENGTH, "precision": "float32"}
    model: Loadable = build(OmegaConf.create(values), "model", Loadable)
    return model.load(device=device.type, hardware=Hardware(), changes={"batch_size": TOGETHER})


def look(
    base: Base, folder: Path, guidance_scale: float, log: Callable[[str], None], *, seeds: int
) -> None:
    """Draw each prompt with some seeds, save a sheet, and tell what the probe reads."""
    rendering = Rendering(guidance_scale=guidance_scale, size=(128, 128))
    samples = generate(
        base, sliders=[], prompts=list(PROMPTS), seeds=range(1, seeds + 1), rendering=rendering
    )
    drawn: dict[str, list[np.ndarray]] = {prompt: [] for prompt in PROMPTS}
    for sample in samples:
        drawn[sample.prompt].append(np.asarray(sample.image))
    probe = load_probe()
    for prompt, images in drawn.items():
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            means = probe(pixels).mean(0)
        read = ", ".join(f"{name} {float(means[INDEX[name]]):.2f}" for name in SHOWN)
        log(f"guidance {guidance_scale}, {prompt!r}: {read}")
    rows = [np.concatenate(images[:WIDE], axis=1) for images in drawn.values()]
    path = folder / f"samples-{guidance_scale}.png"
    Image.fromarray(np.concatenate(rows)).save(path)
    log(f"sheet in {path}")

"""Tiny things to test on: a random FLUX in a standard folder, its LoRAs, pairs and pictures.

What takes seconds to import is imported where it is used: a test of a plan does not wait for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from pairedit.bases.base import Base
    from pairedit.bases.flux1.flux import Flux
    from pairedit.edits import Edit, Photo
    from pairedit.lora.adapters import Adapters
    from pairedit.lora.file import LoraFile
    from pairedit.machine.hardware import Hardware
    from pairedit.sample import Slider

RESOLUTION = 32  # px: 2 x 2 tokens
QUICK = ["steps=2", "lora.rank=2"]  # words of a training that is over at once
# What `render` asks for: sliders act from the third step on, and a part of a picture may stay.
SCALES, STEPS, SKIP, SIDE = (-0.5, 0.0, 0.5, 1.0), 5, 2, 64
SIZE = (SIDE, SIDE)


def write_flux(folder: Path, *, guidance: bool = True) -> Path:
    """Save a random FLUX of 2 double and 2 single blocks as a diffusers FluxPipeline folder."""
    import torch

    from pairedit.mini.untrained import TINY, networks, pipeline

    torch.manual_seed(0)
    sizes = replace(TINY, transformer={**TINY.transformer, "guidance_embeds": guidance})
    pipeline(sizes, networks(sizes)).save_pretrained(folder)
    return folder


def open_flux(folder: Path, hardware: Hardware | None = None) -> Flux:
    """Open a model anew: a transformer that was placed for one hardware serves no other."""
    from pairedit.bases.flux1.load import load
    from pairedit.machine.hardware import Hardware

    load.cache_clear()
    return load(
        str(folder),
        device="cpu",
        precision="float32",
        max_sequence_length=32,
        hardware=hardware or Hardware(),
    )


def check_latents(base: Base, size: tuple[int, int]) -> None:
    """Compare encoding and decoding with a VAE whose latents have one shift and one factor."""
    import torch

    images = torch.rand(2, 3, *size) * 2 - 1
    posterior, vae = base.encode(images), base.pipeline.vae
    with torch.no_grad():
        raw = vae.encode(images).latent_dist
        expected = (raw.mode() - vae.config.shift_factor) * vae.config.scaling_factor
        decoded = vae.decode(raw.mode(), return_dict=False)[0]
    torch.testing.assert_close(posterior.mean, expected)
    torch.testing.assert_close(posterior.std, raw.std * vae.config.scaling_factor)
    torch.testing.assert_close(base.decode(posterior.mean), decoded, rtol=1e-4, atol=1e-5)
    assert posterior.mean.shape[1:] == base.latent_shape(size)


def strong_lora(flux, path, seed=0, rank=3) -> LoraFile:
    """Write a LoRA that visibly changes what the tiny model draws."""
    import torch

    from pairedit.lora.adapters import Adapters
    from pairedit.lora.file import read_lora, write_lora

    adapters = Adapters(flux)
    generator = torch.Generator().manual_seed(seed)
    adapters.add("x", rank=rank, alpha=rank, targets="attention", generator=generator)
    weights = {
        module: (down, torch.randn(up.shape, generator=generator))
        for module, (down, up) in adapters.weights("x").items()
    }
    adapters.remove()
    write_lora(path, weights, {"base_model": "tiny"})
    return read_lora(path)


def random_lora(flux, path, targets="attention", ranks=(3,), sigma=1.0) -> LoraFile:
    """Write a strong LoRA in our layout; its ranks take turns."""
    import torch

    from pairedit.lora.adapters import find_modules
    from pairedit.lora.file import read_lora, write_lora

    generator = torch.Generator().manual_seed(4)
    linears = dict(flux.transformer.named_modules())
    weights = {}
    for index, module in enumerate(find_modules(flux.transformer, targets, flux.names)):
        rank, base = ranks[index % len(ranks)], linears[module]
        down = torch.randn(rank, base.in_features, generator=generator) / base.in_features**0.5
        up = torch.randn(base.out_features, rank, generator=generator) * sigma
        weights[module] = (down, up)
    write_lora(path, weights, {"dataset": "age", "base_model": "flux-mini"})
    return read_lora(path)


@contextmanager
def attached(base, loras: Mapping[str, LoraFile]) -> Iterator[Adapters]:
    """Attach LoRAs by their names; take them off at the end."""
    from pairedit.lora.adapters import Adapters

    adapters = Adapters(base)
    for name, lora in loras.items():
        adapters.load(name, lora)
    yield adapters
    adapters.remove()


def assert_same_edit(left, right):
    import torch

    assert set(left.weights) == set(right.weights)
    for module, (down, up) in left.weights.items():
        other_down, other_up = right.weights[module]
        torch.testing.assert_close(other_up @ other_down, up @ down)


def write_pairs(folder: Path, count: int = 2, side: int = RESOLUTION) -> Path:
    """Draw pairs: a disc whose colour differs between the images."""
    for index in range(count):
        for name, colour in (("source", "red"), ("target", "blue")):
            image = Image.new("RGB", (side, side), "white")
            draw = ImageDraw.Draw(image)
            draw.ellipse((2 + index, 2, side - 3, side - 3 - index), fill=colour)
            path = folder / name / f"p{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return folder


def picture(path, seed=0, side=32):
    """Write a smooth picture, whose latents the tiny model's VAE keeps small."""
    small = np.random.default_rng(seed).integers(60, 200, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def draw_mask(path, size, box, white=255):
    """Write a mask: a box that is free, width first."""
    image = Image.new("L", size, 0)
    ImageDraw.Draw(image).rectangle(box, fill=white)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def noise(seed: int = 0, width: int = 32, height: int | None = None) -> Image.Image:
    """Draw a picture of noise, square unless a height is given."""
    shape = (height or width, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def places(sheet: Image.Image | np.ndarray, part: Image.Image | np.ndarray) -> list[list[int]]:
    """Find where a picture stands on another, pixel by pixel: the left upper corners, (y, x)."""
    whole, part = np.asarray(sheet), np.asarray(part)
    height, width = part.shape[:2]
    rows, columns = whole.shape[0] - height + 1, whole.shape[1] - width + 1
    fits = np.argwhere((whole[:rows, :columns] == part[0, 0]).all(-1))
    for y in range(0, height, 5):  # a few pixels leave few places to look at whole
        for x in range(0, width, 5):
            fits = fits[(whole[fits[:, 0] + y, fits[:, 1] + x] == part[y, x]).all(-1)]
    return [
        [y, x]
        for y, x in fits.tolist()
        if np.array_equal(whole[y : y + height, x : x + width], part)
    ]


def running(base: Flux, **changes: object) -> Flux:
    """Return the same base on hardware that differs a little, such as `batch_size=3`."""
    base.place()  # once for both
    other = copy.copy(base)
    other.hardware = replace(base.hardware, **changes)
    return other


def render(
    base: Flux,
    sliders: Sequence[Slider],
    *,
    batch_size: int = 16,
    seeds: Sequence[int] = (3, 1),
    photos: Sequence[Photo] = (),
    edit: Edit | None = None,
    latents: list | None = None,
) -> dict[tuple[int | None, tuple[float, ...]], np.ndarray]:
    """Render seeds, or a photograph by its own noise; return pixels by seed and scales.

    Args:
        base: the tiny model.
        sliders: with their scales.
        batch_size: rows that run together.
        seeds: of the pictures; unused where there is a photograph.
        photos: one photograph, or none.
        edit: how it is edited; by its inverted noise if not given.
        latents: receives those that are decoded, in the order in which they are.
    """
    from pairedit.edits import RealImage
    from pairedit.sample import generate
    from pairedit.settings import Rendering

    base = running(base, batch_size=batch_size)
    if latents is not None:
        decode = base.decode
        base.decode = lambda rows: (latents.extend(rows.clone()), decode(rows))[1]
    samples = generate(
        base,
        sliders=sliders,
        prompts=["old"],
        seeds=[None] if photos else list(seeds),
        rendering=Rendering(skip=SKIP, num_inference_steps=STEPS, size=SIZE),
        photos=photos,
        edit=edit or (RealImage(inversion="ode") if photos else None),
    )
    return {(s.seed, s.scales): np.asarray(s.finished).astype(int) for s in samples}

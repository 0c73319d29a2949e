"""Check flux-mini on held-out faces, and draw its faces beside the renderer's.

    python scripts/mini_card.py [--write]

Prints reconstruction, probe R² and prompt obedience; `--write` puts them into docs/flux-mini.md
and the picture into docs/pictures/faces.webp.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as pairedit does

import torch
from PIL import Image

from pairedit.bases.base import Base
from pairedit.bases.flux1.load import load
from pairedit.data.images import to_image, to_tensor
from pairedit.files import locate
from pairedit.machine.devices import make_accelerator
from pairedit.mini.faces import ATTRIBUTES, INDEX, render, sample_attributes
from pairedit.mini.probe import determination, read
from pairedit.sample import generate
from pairedit.settings import Rendering

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "flux-mini.md"
BEGIN, END = "<!-- card: begin -->\n\n", "\n<!-- card: end -->"
HELD_OUT = 20_000_000  # training faces come from smaller seeds
COUNT = 128
SEEDS = range(2000, 2064)
SUBJECT = "image of a person"


def load_mini() -> Base:
    """Open the shipped model on the best device there is."""
    return load(
        str(locate("pkg://flux_mini")),
        device=make_accelerator("auto").device.type,
        precision="float32",
        max_sequence_length=32,
    )


def faces(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Render held-out people: attributes [count, A], images [count, 3, 128, 128] in [-1, 1]."""
    attributes = sample_attributes(count, torch.Generator().manual_seed(seed))
    return attributes.float(), ((render(attributes) * 255).round() / 127.5 - 1).float()


def sampled(base: Base, prompt: str, seeds: range) -> torch.Tensor:
    """Sample flux-mini without any LoRA: images [len(seeds), 3, 128, 128]."""
    samples = generate(
        base,
        sliders=[],
        prompts=[prompt],
        seeds=seeds,
        rendering=Rendering(skip=0, num_inference_steps=28, guidance_scale=3.5, size=(128, 128)),
    )
    return torch.stack([to_tensor(sample.image) for sample in samples])


def grid(images: torch.Tensor, columns: int = 8) -> Image.Image:
    """Lay images out in rows."""
    rows = images.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4)
    return to_image(rows.flatten(3).flatten(1, 2))


def main() -> None:
    """Check, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="update the page and the picture")
    write = parser.parse_args().write
    base = load_mini()
    attributes, images = faces(COUNT, HELD_OUT)
    decoded = torch.cat([base.decode(base.encode(part).mean) for part in images.split(16)])
    decoded = ((decoded.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    decibel = -10 * torch.log10(((decoded - images) / 2).square().mean((1, 2, 3)))
    fit = determination(read(images), attributes)
    worst = int(fit.argmin())
    lines = [
        f"- reconstruction by the VAE: {decibel.mean():.1f} dB (worst of {COUNT} faces: "
        f"{decibel.min():.1f})",
        f"- probe: mean R² {fit.mean():.3f} over {len(ATTRIBUTES)} attributes, lowest "
        f"{fit[worst]:.3f} ({ATTRIBUTES[worst]})",
    ]
    plain = sampled(base, SUBJECT, SEEDS)
    for words, name in (("with glasses", "glasses"), ("old", "age"), ("smiling", "smile")):
        asked = read(sampled(base, f"{SUBJECT}, {words}", SEEDS))[:, INDEX[name]].mean()
        without = read(plain)[:, INDEX[name]].mean()
        lines.append(f"- prompt `{SUBJECT}, {words}`: {name} {asked:.2f}, without {without:.2f}")
    text = "\n".join(lines) + "\n"
    print(text)
    if write:
        before, rest = PAGE.read_text().split(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.split(END)[1])
        line = torch.ones(3, 6, 8 * 128)
        drawn, made = (to_tensor(grid(part[:24])) for part in (images, plain))
        (ROOT / "docs" / "pictures").mkdir(parents=True, exist_ok=True)
        to_image(torch.cat([drawn, line, made], dim=1)).save(
            ROOT / "docs" / "pictures" / "faces.webp", quality=90, method=6
        )


if __name__ == "__main__":
    main()

"""What the scripts that edit photographs share: faces, what changes in them, options.

Portraits from seeds that no training of flux-mini saw stand for photographs, because only on them
the probe knows the truth.
"""

import argparse
from itertools import count
from pathlib import Path

import torch

from pairedit.bases.base import Base, Model
from pairedit.data.images import to_image
from pairedit.mini.faces import ATTRIBUTES, INDEX, TIED, render, sample_attributes

PAGE = Path(__file__).parents[1] / "docs" / "real.md"
FIRST_SEED = 60_000_000  # beyond every seed of training and of data/real
# edit -> skip, scales, the gain at which ways are compared.
EDITS = {
    "age": (18, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65), 0.3),
    "smile": (11, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65), 0.3),
}
ROOM = 0.35  # a face is taken if its attributes lie below: it can still age, and smile
TOGETHER = 8  # photographs in one batch


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


def size_of(model: Model) -> tuple[int, int]:
    """Return the height and width of an image."""
    return model.resolution, model.resolution


def decibels(left: torch.Tensor, right: torch.Tensor) -> list[float]:
    """Return the peak signal-to-noise ratio of each image pair [N, 3, H, W] in [-1, 1]."""
    error = ((left.clamp(-1, 1) - right.clamp(-1, 1)) / 2).square().mean((1, 2, 3))
    return (-10 * error.clamp(min=1e-10).log10()).tolist()


def autoencoded(base: Base, images: torch.Tensor) -> torch.Tensor:
    """Return what the VAE alone makes of images."""
    return torch.cat([base.decode(base.encode(part).mean) for part in images.split(8)])


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


def options(doc: str, work: Path) -> argparse.ArgumentParser:
    """Return the options that all of these scripts have.

    Args:
        doc: of the script; its first line describes it.
        work: where trainings and results are kept unless another place is named.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--work", type=Path, default=work, help="where trainings and results are kept"
    )
    parser.add_argument("--faces", type=int, default=32, help="how many photographs are edited")
    parser.add_argument(
        "--edits", nargs="+", choices=EDITS, default=list(EDITS), help="which sliders edit them"
    )
    parser.add_argument(
        "--known", action="store_true", help="do not train or measure anything; show what is known"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/real.md")
    return parser

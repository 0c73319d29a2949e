"""The attribute probe: a small CNN that reads a portrait's attributes back from its pixels.

Trained on rendered faces by `scripts/flux_mini`; together with the renderer it is the ground truth
for what an edit changed on flux-mini. Shapes: B images, A attributes in `faces.ATTRIBUTES` order.
"""

from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_model
from torch import Tensor, nn

from pairedit.files import PACKAGE
from pairedit.mini.faces import ATTRIBUTES, INDEX, TIED

WEIGHTS = PACKAGE / "flux_mini" / "probe.safetensors"
SIZE = 128


class Probe(nn.Module):
    """Read attributes from images.

    Strided residual stages keep a 4 x 4 map to the end: where a feature sits is what many
    attributes are about, so nothing is averaged over the whole image.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 48, 80, 128, 128)) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((3, *widths[:-1]), widths, strict=True):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), _Residual(after)]
        self.features = nn.Sequential(*stages, nn.GroupNorm(8, widths[-1]), nn.SiLU())
        cells = (SIZE // 2 ** len(widths)) ** 2
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1] * cells, len(ATTRIBUTES)))

    def forward(self, images: Tensor) -> Tensor:
        """Return attributes [B, A], near [0, 1], for images [B, 3, 128, 128] in [-1, 1]."""
        return self.head(self.features(images)) + 0.5


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


@cache
def load(weights: Path = WEIGHTS) -> Probe:
    """Load a probe, by default the shipped one, in float32 on the CPU, ready to read."""
    probe = Probe().half()
    load_model(probe, weights)
    return probe.float().eval().requires_grad_(False)


@torch.no_grad()
def read(images: Tensor, weights: Path = WEIGHTS) -> Tensor:
    """Read attributes.

    Args:
        images: [B, 3, 128, 128] in [-1, 1].
        weights: the probe's file.

    Returns:
        [B, A] float32, not clamped, columns as in `faces.ATTRIBUTES`.

    Raises:
        ValueError: another shape.
    """
    if images.ndim != 4 or images.shape[1:] != (3, SIZE, SIZE):
        raise ValueError(f"images {tuple(images.shape)}: expected [B, 3, {SIZE}, {SIZE}]")
    return torch.cat([load(weights)(part) for part in images.float().split(32)])


def visibility(attributes: Tensor) -> Tensor:
    """Return how visible each attribute is, [B, A] in [0, 1]: grey hair shows no hair colour."""
    seen = torch.ones_like(attributes)
    grey = ((attributes[:, INDEX["age"]] - 0.2) / 0.7).clamp(0, 1)
    for name in TIED["age"]:
        seen[:, INDEX[name]] = 1 - grey
    return seen


def determination(found: Tensor, attributes: Tensor) -> Tensor:
    """Return the coefficient of determination R² of each attribute, weighted by its visibility.

    Args:
        found: what the probe read, [B, A].
        attributes: the truth, [B, A].

    Returns:
        [A], 1 for a perfect reading, 0 for one no better than the mean.
    """
    seen = visibility(attributes)
    mean = (attributes * seen).sum(0) / seen.sum(0)
    error = ((found - attributes).square() * seen).sum(0)
    return 1 - error / ((attributes - mean).square() * seen).sum(0)

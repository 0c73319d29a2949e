"""Own what the pictures themselves tell, seen at a few pixels: do they change as the pairs do?

    direction   cosine of the mean change of the pictures and that of the pairs
    place       cosine of where the pictures change and where the pairs differ, whatever the colours

Seen coarsely, since people are not all of one shape. No weights are needed, so any base model is
measured. Shapes: N lanes, K scales, P pairs, B images, D numbers of a coarse picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairedit.measure.evidence import PICTURE, Evidence
from pairedit.measure.readers import SIDE


def direction(seen: Evidence) -> Tensor:
    """Return the cosine of the mean changes for every scale, [K]; 0 at scale 0."""
    moved, shown = _changes(seen)
    return torch.cosine_similarity(moved.mean(0), shown.mean(0, keepdim=True))


def place(seen: Evidence) -> Tensor:
    """Return the cosine of how much changes at each pixel, for every scale, [K]; 0 at scale 0."""
    moved, shown = (_sizes(change) for change in _changes(seen))
    return torch.cosine_similarity(moved, shown[None])


def along(seen: Evidence) -> Tensor:
    """Return how far the pictures move along the mean change of the pairs; 1 is as far, [N, K]."""
    moved, shown = _changes(seen)
    way = shown.mean(0)
    return moved @ way / way.square().sum()


def _changes(seen: Evidence) -> tuple[Tensor, Tensor]:
    """Return the change of each lane at each scale, [N, K, D], and that of each pair, [P, D]."""
    reading = seen.readings[PICTURE]
    return reading.lanes - reading.lanes[:, [seen.zero]], reading.after - reading.before


def _sizes(changes: Tensor) -> Tensor:
    """Return the root mean square of changes [B, ..., D] over B and colours, [..., pixels]."""
    squares = changes.unflatten(-1, (3, SIDE * SIDE)).square()
    return squares.mean((0, -2)).sqrt()

"""Own local sampling: where a slider changes little, the picture stays that of scale 0.

    m    = mean over 3 x 3 latent pixels of the channel mean of |x_k - x_0|
    W    = clip(2 * (m / q98(m) - FLOOR) / (1 - FLOOR), 0, 1)
    x_k <- W * x_k + (1 - W) * x_0       after every step on which sliders act

The row at scale 0 runs beside the others, so this costs no pass. Every row has its own W, which
depends on nothing but the row and the one at scale 0: the scales that are rendered along with it
change no image. A mask M of the photograph narrows it further:

    x_k <- M * x_k + (1 - M) * x_0       bit for bit x_0 where M is 0

What the decoder smears beyond is taken back in the finished pictures, by the same formula with a
floor of .2 and a mean over 5 x 5 pixels of a picture of 128; see `kept`.
Shape letters: B rows, C channels, h and w height and width of latents, H and W of pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = 0.1  # of the largest change; less is none. Measured: .05 to .2 do alike
PIXEL_FLOOR = 0.2  # of finished pictures. Measured: .03 to .3 do nearly alike
LARGEST = 0.98  # the quantile that stands for the largest change: single pixels stand out


def share(change: Tensor) -> Tensor:
    """Return how much of a change is kept, float32 [B, 1, h, w] in [0, 1], from [B, C, h, w]."""
    return _share(change, floor=FLOOR, window=3)


def _share(change: Tensor, *, floor: float, window: int) -> Tensor:
    """Return the share W of a change, whose size is a mean over `window` x `window`."""
    size, reach = change.abs().mean(1, keepdim=True), window // 2
    # One axis after the other: a window of 41 costs 82 sums at each place, not 1681.
    for length in ((window, 1), (1, window)):
        padding = tuple(reach * (side > 1) for side in length)
        size = F.avg_pool2d(size, length, stride=1, padding=padding, count_include_pad=False)
    # So smooth a map is known from a few places in each window.
    apart = max(1, window // 5)
    largest = size[..., ::apart, ::apart].flatten(1).quantile(LARGEST, dim=1)[:, None, None, None]
    # Where nothing changes at all, nothing is kept.
    relative = size / largest.clamp(min=torch.finfo(size.dtype).tiny)
    return (2 * (relative - floor) / (1 - floor)).clamp(0, 1)


def kept(image: Tensor, zero: Tensor) -> Tensor:
    """Bring a finished picture back to that of scale 0 where it differs little.

    Several sliders have one mask, by what all of them change together.

    Args:
        image: float [3, H, W], about [-1, 1].
        zero: the same at scale 0; of a photograph its reconstruction.

    Returns:
        float32 [3, H, W] in [-1, 1], `zero` itself where the mask is 0.
    """
    # What no screen shows is no change.
    image, zero = (picture.float().clamp(-1, 1) for picture in (image, zero))
    change = (image - zero)[None]
    window = 2 * round((5 * isqrt(zero[0].numel()) / 128 - 1) / 2) + 1
    return zero + (_share(change, floor=PIXEL_FLOOR, window=window) * change)[0]


def spread(changes: Sequence[Tensor]) -> float:
    """Return the mean share of their pictures that changes [1, C, h, w] reach, in [0, 1]."""
    return float(torch.cat([share(change).flatten() for change in changes]).mean())


class Anchors:
    """Hold rows at scale 0 on their way, for the rows of the same lane in this batch and later."""

    def __init__(self) -> None:
        """Know no lane yet."""
        self._paths: dict[tuple[int, int], Tensor] = {}  # by lane and step, [C, h, w]

    def settle(
        self,
        latents: Tensor,
        *,
        step: int,
        lanes: Sequence[int],
        anchored: Sequence[bool],
        local: Sequence[bool],
        masks: Sequence[Tensor | None],
    ) -> Tensor:
        """Bring rows back to scale 0 where their sliders change little, and outside of masks.

        Args:
            latents: float32 [B, C, h, w] after `step`.
            step: that was taken.
            lanes: of the rows; the row at scale 0 of a lane comes in the same batch, or came in
                one before.
            anchored: which rows are those at scale 0.
            local: which rows to bring back where they change little.
            masks: [1, h, w] in [0, 1] for each row: where it may change; None: everywhere.

        Returns:
            float32 [B, C, h, w]; rows that are neither are as they came, bit for bit, and where a
            mask is 0 rows are as that at scale 0.
        """
        for row, (lane, at_zero) in enumerate(zip(lanes, anchored, strict=True)):
            if at_zero:
                self._paths[lane, step] = latents[row].clone()
        settled = list(latents)
        rows = [row for row, asked in enumerate(local) if asked]
        if rows:
            base = torch.stack([self._paths[lanes[row], step] for row in rows])
            change = torch.stack([latents[row] for row in rows]) - base
            for row, brought in zip(rows, base + share(change) * change, strict=True):
                settled[row] = brought
        for row, mask in enumerate(masks):
            if mask is not None:
                base = self._paths[lanes[row], step]
                settled[row] = torch.lerp(base, settled[row], mask)
        return torch.stack(settled)

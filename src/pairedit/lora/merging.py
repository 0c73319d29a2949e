"""Own how several LoRAs become one: side by side, exactly, or cut to a rank.

sum over i of scale_i * B_i A_i = [scale_1 B_1, scale_2 B_2, ...] [A_1; A_2; ...]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pairedit.lora.file import LoraFile
from pairedit.lora.starting import fitted, squared


@torch.no_grad()
def merge(
    parts: Sequence[tuple[LoraFile, float]], rank: int | None = None
) -> tuple[dict[str, tuple[Tensor, Tensor]], float]:
    """Add up the updates of LoRAs.

    Args:
        parts: LoRAs with their scales.
        rank: that no module exceeds; None adds the ranks up.

    Returns:
        A [rank, in] and B [out, rank] by module, and the share of the sum's Frobenius norm, over
        all modules, that is lost.

    Raises:
        ValueError: a module that is of another size in another part.
    """
    merged, whole, kept = {}, 0.0, 0.0
    for module in dict.fromkeys(module for lora, _ in parts for module in lora.weights):
        having = [
            (lora.weights[module], s, lora.path) for lora, s in parts if module in lora.weights
        ]
        sizes = {(up.shape[0], down.shape[1]) for (down, up), _, _ in having}
        if len(sizes) > 1:
            paths = ", ".join(str(path) for *_, path in having)
            raise ValueError(f"merge: {module} is of different sizes in {paths}")
        down = torch.cat([down for (down, _), _, _ in having])
        up = torch.cat([up * scale for (_, up), scale, _ in having], dim=1)
        size, share = squared(down, up), 1.0
        if rank is not None:
            down, up, share = fitted(down, up, rank=rank)
        merged[module] = down, up
        whole, kept = whole + size, kept + size * share
    return merged, max(0.0, 1 - kept / whole) ** 0.5 if whole else 0.0

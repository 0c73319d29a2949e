"""Own how a new LoRA starts from a finished one, whatever its rank and modules.

    alpha / rank * B A = the file's B A

A smaller rank keeps the largest singular values of the update. A larger one is exact: the further
columns of B are zero. Their rows of A are drawn as those of a new LoRA, or they would never learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairedit.lora.file import LoraFile

NONE = 1e-6  # of a share: rounding


@dataclass(frozen=True, kw_only=True)
class Start:
    """Say what became of a file's update."""

    taken: int  # modules
    new: int  # modules that the file lacks
    left: int  # modules of the file that are not trained
    biases: int  # of the file; a training has none
    ranks: tuple[int, ...]  # of the file, ascending
    lost: float  # share of the update's Frobenius norm, over all modules that were taken

    def text(self, rank: int) -> str:
        """Write it as a part of a sentence, given the rank that is trained."""
        parts = [f"{self.taken} modules"]
        if self.new:
            parts.append(f"{self.new} of the targets are not in it and start new")
        if self.left:
            parts.append(f"{self.left} of its modules are not among the targets and are left out")
        if self.biases:
            parts.append(f"its {self.biases} biases are left out")
        if self.ranks != (rank,):
            there = "-".join(map(str, sorted({self.ranks[0], self.ranks[-1]})))
            cut = (
                f"loses {100 * self.lost:.2g} % of the update"
                if self.lost > NONE
                else "loses nothing"
            )
            parts.append(f"rank {there} becomes {rank}, which {cut}")
        return ", ".join(parts)


@torch.no_grad()
def start_from(
    lora: LoraFile, modules: Sequence[str], weights: Sequence[Tensor], scaling: float
) -> Start:
    """Write the update of a file into the weights of a new LoRA, in place.

    Args:
        lora: the file.
        modules: that the new LoRA sits on.
        weights: A and B of each module in turn, as they are trained: the update is scaled.
        scaling: alpha / rank of the new LoRA.

    Raises:
        ValueError: no module in common, or one of another size.
    """
    common = [module for module in modules if module in lora.weights]
    if not common:
        raise ValueError(f"{lora.path}: none of its modules is among the targets")
    kept = whole = 0.0
    for module, down, up in zip(modules, weights[::2], weights[1::2], strict=True):
        if module not in lora.weights:
            continue
        there = lora.weights[module]
        if (there[1].shape[0], there[0].shape[1]) != (up.shape[0], down.shape[1]):
            raise ValueError(f"{lora.path}: {module} is of another size in this model")
        new_down, new_up, share = fitted(*there, rank=len(down))
        down[: len(new_down)].copy_(new_down)
        up.zero_()
        up[:, : len(new_down)].copy_(new_up / scaling)
        size = squared(*there)
        whole, kept = whole + size, kept + size * share
    return Start(
        taken=len(common),
        new=len(modules) - len(common),
        left=len(lora.weights) - len(common),
        biases=len(lora.biases),
        ranks=tuple(sorted({len(lora.weights[module][0]) for module in common})),
        lost=max(0.0, 1 - kept / whole) ** 0.5 if whole else 0.0,
    )


def fitted(down: Tensor, up: Tensor, *, rank: int) -> tuple[Tensor, Tensor, float]:
    """Return an update at a rank that is not larger.

    Args:
        down: A, float32 [r, in].
        up: B, float32 [out, r].
        rank: of what is returned, at most; an update of no higher rank is returned as it is.

    Returns:
        A [rank, in], B [out, rank], and the share of the squared norm of B A that is kept.
    """
    if len(down) <= rank:
        return down, up, 1.0
    # The singular values of B A, by way of two small triangles.
    left, inner = torch.linalg.qr(up.double())
    right, outer = torch.linalg.qr(down.double().T)
    u, values, v = torch.linalg.svd(inner @ outer.T)
    root = values[:rank].sqrt()
    squares = values.square()
    total = float(squares.sum())
    share = float(squares[:rank].sum()) / total if total else 1.0
    return (
        (root[:, None] * (v[:rank] @ right.T)).float(),
        (left @ u[:, :rank] * root).float(),
        share,
    )


def squared(down: Tensor, up: Tensor) -> float:
    """Return the squared Frobenius norm of B A, without the large product itself."""
    return float(((up.T @ up).double() * (down @ down.T).double()).sum())

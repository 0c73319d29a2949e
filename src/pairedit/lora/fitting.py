"""Own whether a LoRA that was read fits a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pairedit.lora.file import LoraFile

if TYPE_CHECKING:
    from torch import Tensor, nn


def check_fit(lora: LoraFile, linears: Mapping[str, nn.Linear]) -> None:
    """Refuse a LoRA that does not fit a model.

    Args:
        lora: as read.
        linears: the linear layers of the model, by name.

    Raises:
        ValueError: names the file and each module or shape that the model lacks.
    """
    problems = []
    for module in sorted({*lora.weights, *lora.biases}):
        if module not in linears:
            problems.append(f"{module} is no linear layer of this model")
            continue
        base = linears[module]
        down, up = lora.weights.get(module, (None, None))
        if down is not None and (len(up), down.shape[1]) != (base.out_features, base.in_features):
            problems.append(
                f"{module} maps {down.shape[1]} to {len(up)} features, "
                f"the model {base.in_features} to {base.out_features}"
            )
        bias = lora.biases.get(module)
        if bias is not None and len(bias) != base.out_features:
            problems.append(
                f"the bias of {module} has {len(bias)} numbers, the model {base.out_features}"
            )
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"{lora.path}: does not fit the base model: {'; '.join(problems[:3])}{more}; a LoRA "
            "works with the model that it was trained on"
        )


def whole_weights(
    lora: LoraFile, linears: Mapping[str, nn.Linear]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return A and B of every module that a LoRA changes; of rank 0 where it has a bias alone."""
    blank = {
        module: (bias.new_zeros(0, linears[module].in_features), bias.new_zeros(len(bias), 0))
        for module, bias in lora.biases.items()
    }
    return {**blank, **lora.weights}

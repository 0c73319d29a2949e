"""Own linear layers of few inputs: what they make of each is known ahead, and picked by number.

Shape letters: B rows, K inputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Tabled(nn.Linear):
    """Stand for a linear layer, whose weights stay where they are.

    LoRAs attach to it as to any other: they need `inputs`, which all such layers share.
    """

    def __init__(self, layer: nn.Linear, inputs: Inputs, device: torch.device) -> None:
        """Take the place of `layer`, on the device that the table will be on."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.inputs = inputs
        self.layer = (layer,)  # in a tuple, so that it is no child
        # Tells device and type to who attaches LoRAs, and takes no memory.
        nothing = layer.weight.new_full((), math.nan, device=device).expand(layer.weight.shape)
        self.weight = nn.Parameter(nothing, requires_grad=False)
        self.register_buffer("values", torch.empty(0), persistent=False)

    def dense(self) -> Tensor:
        """Return the weights [out, in] of the layer it stands for."""
        return self.layer[0].weight

    def fill(self, values: Tensor) -> None:
        """Keep [K, out]; in place where they fit, as a CUDA graph remembers addresses."""
        self.values = refill(self.values, values)

    def forward(self, index: Tensor) -> Tensor:
        """Return [B, out] for int64 [B]."""
        return self.values[index]


class Inputs:
    """Hold the inputs [K, in] of tabled layers."""

    def __init__(self) -> None:
        """Start with none."""
        self.values = torch.empty(0)

    def fill(self, values: Tensor) -> None:
        """Keep [K, in]; in place where they fit."""
        self.values = refill(self.values, values)


def refill(old: Tensor, new: Tensor) -> Tensor:
    """Return a tensor of the new values: the old one, where they fit in."""
    return old.copy_(new) if old.shape == new.shape else new

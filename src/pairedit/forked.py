"""Own the usual way to the scales of a lane: from a fork on the path, every scale a row.

    x(k) <- x(k) + (sigma_next - sigma) * u_k(x(k))    then brought back where sliders are local

Shape letters: B rows, C channels, h and w height and width of latents.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pairedit.edits import Edit, Lane
from pairedit.flow import Flow
from pairedit.legs import Cell, Leg
from pairedit.local import Anchors
from pairedit.machine.devices import picked


class Forked:
    """Run cells from the fork to their end, a few at a time."""

    def __init__(
        self,
        flow: Flow,
        edit: Edit,
        lanes: Sequence[Lane],
        trunk: Tensor,
        *,
        legs: Sequence[Leg],
        columns: Sequence[tuple[float, ...]],
        masks: Sequence[Tensor | None],
    ) -> None:
        """Know where lanes fork.

        Args:
            flow: of the rendering.
            edit: gives the velocities.
            lanes: at least one.
            trunk: float32 [lanes, C, h, w], at the fork.
            legs: from there on.
            columns: their scales.
            masks: [1, h, w] in [0, 1] for each lane: where it may change; None: everywhere.
        """
        self._flow, self._edit, self._lanes, self._trunk = flow, edit, lanes, trunk
        self._legs, self._masks, self._anchors = legs, masks, Anchors()
        self._at_zero = [not any(scales) for scales in columns]
        self.compared = True in legs[0].local or any(mask is not None for mask in masks)

    def __call__(self, part: Sequence[Cell]) -> Tensor:
        """Return the finished latents of cells, float32 [B, C, h, w]."""
        latents = picked(self._trunk, [lane for lane, _ in part])
        for leg in self._legs:
            blends = [self._edit.blend(leg.scales[c], self._lanes[lane]) for lane, c in part]
            latents = self._flow.forwards(latents, blends, leg.begin, leg.end)
            if self.compared:
                latents = self._anchors.settle(
                    latents,
                    step=leg.begin,
                    lanes=[lane for lane, _ in part],
                    anchored=[self._at_zero[column] for _, column in part],
                    local=[leg.local[column] is True for _, column in part],
                    masks=[self._masks[lane] for lane, _ in part],
                )
        return latents

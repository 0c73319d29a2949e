"""Own editing the finished picture of scale 0: FlowEdit, with a slider for its target prompt.

    x_0    the finished latents of scale 0; of a photograph what it is encoded to
    z      = (1 - sigma) * x_0 + sigma * eps
    D     <- D + (sigma_next - sigma) * (u_k(z + D) - u_0(z))    at every step on which sliders act
    D     <- W * D where they are local, M * D where the photograph has a mask; see `local`
    x_k    = x_0 + D

u is the velocity of `edits` with the sliders at scale k, and at scale 0. eps is one noise for each
step, and u_0(z) one velocity, whatever the scale: which scales are rendered together changes no
image. Shape letters: B rows, C channels, h and w height and width of latents.

Source: FlowEdit (arXiv 2412.08629), algorithm 1 with one noise a step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from pairedit.bases.base import Base
from pairedit.edits import Edit, Lane
from pairedit.flow import Flow
from pairedit.legs import Cell, Leg, Slider
from pairedit.local import share
from pairedit.machine.devices import bring
from pairedit.settings import Size


def edits_finished(sliders: Sequence[Slider]) -> bool:
    """Say whether sliders edit the finished picture: all of them, as they have one way together."""
    return bool(sliders) and all(slider.flowedit for slider in sliders)


def running(leg: Leg, zero: int) -> list[int]:
    """List the columns that take a pass at a step, that at scale 0 among them if there are any.

    A slider that has no strength any more still has: the model goes on with what it has changed.
    """
    acting = [column for column, scales in enumerate(leg.scales) if scales]
    return sorted([*acting, zero]) if acting else []


def noise_of(base: Base, seed: int | None, step: int, size: Size) -> Tensor:
    """Draw the noise of a step, float32 [C, h, w] on the CPU: of seed and step, and no other's.

    Args:
        base: the model.
        seed: of the lane; None: a photograph that has none.
        step: index.
        size: height and width in px.
    """
    digest = hashlib.sha256(f"flowedit {seed} {step}".encode()).digest()
    return base.noise(int.from_bytes(digest[:8], "big") >> 1, size)


class Finished:
    """Move finished pictures of lanes to the scales of columns, a few cells at a time."""

    compared = True  # a lane's cell at scale 0 comes before its others

    def __init__(
        self,
        flow: Flow,
        edit: Edit,
        lanes: Sequence[Lane],
        pictures: Tensor,
        *,
        legs: Sequence[Leg],
        zero: int,
        masks: Sequence[Tensor | None],
        size: Size,
    ) -> None:
        """Know the pictures, and no velocity yet.

        Args:
            flow: of the rendering.
            edit: gives the velocities.
            lanes: at least one.
            pictures: float32 [lanes, C, h, w], x_0.
            legs: single steps.
            zero: the column at scale 0.
            masks: [1, h, w] in [0, 1] for each lane: where it may change; None: everywhere.
            size: height and width in px.
        """
        self._flow, self._edit, self._lanes, self._pictures = flow, edit, lanes, pictures
        self._legs, self._zero, self._masks, self._size = legs, zero, masks, size
        self._still: dict[tuple[int, int], Tensor] = {}  # u_0(z) by lane and step, [C, h, w]

    def __call__(self, part: Sequence[Cell]) -> Tensor:
        """Return the finished latents of cells, float32 [B, C, h, w]."""
        pictures = self._pictures[[lane for lane, _ in part]]
        moved = torch.zeros_like(pictures)
        for leg in self._legs:
            columns = running(leg, self._zero)
            rows = [row for row, (_, column) in enumerate(part) if column in columns]
            if rows:
                moved[rows] += self._step(leg, [part[row] for row in rows], moved[rows])
            local = [
                row for row, (_, c) in enumerate(part) if leg.scales[c] and leg.local[c] is True
            ]
            if local:
                moved[local] *= share(moved[local])
            for row, (lane, _) in enumerate(part):
                if self._masks[lane] is not None:
                    moved[row] *= self._masks[lane]
        return pictures + moved

    def _step(self, leg: Leg, cells: Sequence[Cell], moved: Tensor) -> Tensor:
        """Return what one step adds to the changes [B, C, h, w] of cells."""
        flow, step = self._flow, leg.begin
        sigma, following = flow.sigmas[step], flow.sigmas[step + 1]
        lanes = [lane for lane, _ in cells]
        drawn = {
            lane: noise_of(flow.base, self._lanes[lane].seed, step, self._size)
            for lane in dict.fromkeys(lanes)
        }
        noise = bring(torch.stack([drawn[lane] for lane in lanes]), moved.device)
        noisy = (1 - sigma) * self._pictures[lanes] + sigma * noise
        blends = [self._edit.blend(leg.scales[column], self._lanes[lane]) for lane, column in cells]
        found = flow.velocity(noisy + moved, blends, step)
        for row, (lane, column) in enumerate(cells):
            if column == self._zero:
                self._still[lane, step] = found[row].clone()
        still = torch.stack([self._still[lane, step] for lane in lanes])
        return (following - sigma) * (found - still)

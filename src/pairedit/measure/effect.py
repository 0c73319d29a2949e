"""Own the three quantities that the measures are made of: worth, effect, identity."""

from __future__ import annotations

import torch
from torch import Tensor

from pairedit.measure.evidence import PICTURE, Evidence
from pairedit.measure.picture import along

NOTICED = 0.1  # shares of one pair's worth of change: "something happens"
LOST = 0.5  # shares of the difference between two people: "identity is lost"
LOST_PIXELS = 0.8  # the same in pixels, where a change of hair alone counts much


def worth(seen: Evidence) -> float | None:
    """Return one pair's worth: the mean change of the attribute that the pairs show.

    Returns:
        In units of the attribute's range, signed; None without pairs or attribute, or where that
        is a guess.
    """
    left = _left(seen)
    return None if left is None else float(left.mean())


def _left(seen: Evidence) -> Tensor | None:
    """Return what the pairs' change would be of each person, [N]; see `worth`.

    Where a person is nearer to the after images than a pair is wide, no more than what is left
    counts: who smiles already cannot smile as much more as the pairs do.
    """
    if seen.guessed or not {"probe", "pairs", "attribute"} <= seen.has:
        return None
    lanes, before, after = (
        seen.probe.of(values, seen.attribute)[..., 0]
        for values in (seen.probe.lanes, seen.probe.before, seen.probe.after)
    )
    shown = float((after - before).mean())
    sign = 1.0 if shown >= 0 else -1.0
    return sign * (sign * (after.mean() - lanes[:, seen.zero])).clamp(0, abs(shown))


def due(seen: Evidence) -> Tensor:
    """Return the effect that each person's own share of one pair's worth is, [N]; 1 on average.

    Whose edit is half done already is due half as much.
    """
    left = _left(seen)
    if left is None or not (mean := left.mean()):
        return torch.ones(len(seen.distance))
    return left / mean


def effect(seen: Evidence) -> Tensor:
    """Return how much of one pair's worth happens at each scale, by the best reader there is.

    The named attribute's change by the probe, else the change along the pairs' CLIP direction,
    else, where a probe could read attributes but nobody named one of them, that of the pictures
    along the pairs' change, else the image distance, which takes its sign from the scale.

    Returns:
        [N, K]; 1 is as much as the pairs show; without pairs the attribute's full range, or
        image distance itself.
    """
    if value := worth(seen):
        return seen.attributes(seen.attribute)[..., 0] / value
    if {"clip", "pairs"} <= seen.has:
        reading = seen.readings["clip"]
        direction = (reading.after - reading.before).mean(0)
        moved = reading.lanes - reading.lanes[:, [seen.zero]]
        return moved @ direction / direction.square().sum()
    if seen.by_pictures and {PICTURE, "pairs"} <= seen.has:
        return along(seen)
    if seen.pair_distance is None and {"probe", "attribute"} <= seen.has:
        return seen.attributes(seen.attribute)[..., 0]
    sign = torch.tensor([-1.0 if scale < 0 else 1.0 for scale in seen.scales])
    return seen.change * sign / (seen.pair_distance or 1.0)


def identity(seen: Evidence) -> Tensor:
    """Return how far each image is from its own person, as a share of the way to `LOST`; [N, K].

    By the probe: mean change of the identity attributes that the edit is to leave alone, over the
    mean difference of two people of this run; by pixels: distance over the distance to other
    people. The larger counts.
    """
    lost = seen.change / (seen.strangers.mean() * LOST_PIXELS)
    probe = seen.probe
    moved = {seen.attribute, *seen.tied}
    names = [n for n in probe.instrument.identity if n not in moved] if probe else []
    if names:
        people = torch.cat([probe.lanes[:, seen.zero], probe.before])
        if len(people) > 1:
            others = torch.pdist(probe.of(people, *names), p=1).mean() / len(names)
            lost = torch.maximum(lost, seen.attributes(*names).abs().mean(-1) / (others * LOST))
    return lost

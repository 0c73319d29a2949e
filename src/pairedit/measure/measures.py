"""Own the measures: what a slider did, computed from what was read off its images.

Another measure is another function here, with its column where the table is to show it. With I(s)
an image at scale s and a, b attributes:

    target(s) = a(s) - a(0)    off-target(s) = mean over b of |b(s) - b(0)|    d(s) = |I(s) - I(0)|

`effect` is the target (or what stands in for it) in units of one pair's worth, `identity` the way
to where the person is lost. Shapes: N lanes (seeds x prompts), K scales.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pairedit.measure.effect import NOTICED, effect, identity, worth
from pairedit.measure.evidence import Column, Evidence, Function, Measure
from pairedit.measure.intervals import at, crossing, mean_cost, straightness
from pairedit.measure.picture import direction, place

LINEAR = 1.25  # pairs' worth of change up to which the effect should be straight
MEASURES: dict[str, Measure] = {}  # by name, in the order that reports have


def measure(name: str, *needs: str, column: Column | None = None) -> Callable[[Function], Measure]:
    """Make a function of `Evidence` a measure; see `Measure` for what it may need.

    The function returns a value for every lane and scale, for every lane, or one for all lanes
    together; its docstring's first line is the definition that reports show.
    """

    def register(function: Function) -> Measure:
        made = Measure(name=name, needs=frozenset(needs), function=function, column=column)
        MEASURES[name] = made
        return made

    return register


@measure("image change")
def image_change(seen: Evidence) -> Tensor:
    """Distance to the image at scale 0: root mean square over pixels, 1 is black to white."""
    return seen.change


@measure("target", "probe", "attribute")
def target(seen: Evidence) -> Tensor:
    """Change of the edited attribute, in units of its full range."""
    return seen.attributes(seen.attribute)[..., 0]


@measure("share of a pair", "pairs")
def share(seen: Evidence) -> Tensor:
    """Effect in units of one pair's worth: 1 is as much as the pairs show.

    See `effect` and `worth`.
    """
    return effect(seen)


@measure("off-target", "probe", "attribute")
def off_target(seen: Evidence) -> Tensor:
    """Mean absolute change of every attribute that is not tied to the edit."""
    return seen.attributes(*seen.others).abs().mean(-1)


@measure("identity")
def identity_lost(seen: Evidence) -> Tensor:
    """Distance from the person at scale 0; at 1 identity is lost, half-way to a stranger."""
    return identity(seen)


@measure("picture direction", "picture", "pairs")
def picture_direction(seen: Evidence) -> Tensor:
    """Cosine between the mean change of the images and that of the pairs, at 16 x 16 pixels.

    At the first scale that gets to where sliders are compared; else at the last.
    """
    return direction(seen)[_compared(seen)]


@measure("picture place", "picture", "pairs")
def picture_place(seen: Evidence) -> Tensor:
    """Cosine between where the images change and where the pairs differ, at 16 x 16 pixels.

    At the same scale; 1 where as much changes at each pixel, whatever the colours.
    """
    return place(seen)[_compared(seen)]


@measure("clip direction", "clip", "pairs")
def clip_direction(seen: Evidence) -> Tensor:
    """Cosine between the image's change and the pairs' change in CLIP space; 0 at scale 0.

    Source: directional similarity, StyleGAN-NADA (arXiv 2108.00946), with the pairs' mean image
    direction in place of text.
    """
    reading = seen.readings["clip"]
    moved = reading.lanes - reading.lanes[:, [seen.zero]]
    direction = (reading.after - reading.before).mean(0)
    return torch.cosine_similarity(moved, direction.expand_as(moved), dim=-1)


@measure("lpips", "lpips")
def lpips(seen: Evidence) -> Tensor:
    """Perceptual distance to the image at scale 0.

    Source: LPIPS (arXiv 1801.03924), as torchmetrics computes it.
    """
    return seen.readings["lpips"].lanes[..., 0]


@measure("dino distance", "dino")
def dino_distance(seen: Evidence) -> Tensor:
    """One minus the cosine of DINOv2's class tokens, to the image at scale 0.

    Source: DINOv2 (arXiv 2304.07193); the DINO score of DreamBooth (arXiv 2208.12242).
    """
    return 1 - _similarity(seen, "dino")


@measure("face similarity", "arcface")
def face_similarity(seen: Evidence) -> Tensor:
    """Cosine of ArcFace embeddings, to the image at scale 0: 1 is the same person.

    Source: ArcFace (arXiv 1801.07698).
    """
    return _similarity(seen, "arcface")


def _similarity(seen: Evidence, reader: str) -> Tensor:
    """Return the cosine between each image's reading and the one at scale 0, [N, K]."""
    lanes = seen.readings[reader].lanes
    return torch.cosine_similarity(lanes, lanes[:, [seen.zero]], dim=-1)


@measure("monotonicity", column=Column("monotonic", place=60))
def monotonicity(seen: Evidence) -> Tensor:
    """Spearman's rank correlation of scale and effect: 1 rises throughout, 0 without effect."""
    ranks = _ranks(effect(seen))
    places = torch.arange(ranks.shape[1], dtype=ranks.dtype).expand_as(ranks)
    ranks, places = ranks - ranks.mean(1, keepdim=True), places - places.mean(1, keepdim=True)
    return torch.cosine_similarity(ranks, places, dim=1)


@measure("violated steps")
def violated(seen: Evidence) -> Tensor:
    """Share of the steps from one scale to the next that do not raise the effect."""
    return (effect(seen).diff(dim=1) <= 0).float().mean(1)


@measure("triangle deficit")
def triangle_deficit(seen: Evidence) -> Tensor:
    """Detour of the images' path: share by which two steps are longer than the way across them.

    0 where every image lies straight between its neighbours, 1 where a step is undone by the
    next. Source: the triangle inequality.
    """
    near = seen.distance.diagonal(1, 1, 2)
    both = near[:, :-1] + near[:, 1:]
    across = seen.distance.diagonal(2, 1, 2)
    if not across.shape[1]:
        return torch.full((len(near),), float("nan"))
    return ((both - across) / both.clamp(min=1e-9)).clamp(min=0).mean(1)


@measure("unevenness")
def unevenness(seen: Evidence) -> Tensor:
    """Coefficient of variation of the image change per scale over the steps: 0 is even."""
    rate = seen.distance.diagonal(1, 1, 2) / torch.tensor(seen.scales).diff()
    if rate.shape[1] < 2:
        return torch.full((len(rate),), float("nan"))
    return rate.std(1, correction=0) / rate.mean(1).clamp(min=1e-9)


@measure("jump at 0")
def jump(seen: Evidence) -> Tensor:
    """Image change just above scale 0, as a share of the largest: 0 is continuous.

    The line through the two smallest positive scales, drawn back to 0; a scale such as 0.01
    among them makes it sharp.
    """
    up = [k for k, scale in enumerate(seen.scales) if scale > 0][:2]
    if len(up) < 2:
        return torch.full((len(seen.change),), float("nan"))
    (near, far), (first, second) = (seen.scales[k] for k in up), seen.change[:, up].unbind(1)
    start = (first - near * (second - first) / (far - near)).clamp(min=0)
    # A first step that is larger than the second by far would extrapolate beyond itself.
    return torch.minimum(start, first) / seen.change.amax(1).clamp(min=1e-9)


@measure("starts at")
def usable_from(seen: Evidence) -> Tensor:
    """Scale from which something happens: a tenth of one pair's worth."""
    return crossing(seen.scales, effect(seen).mean(0), NOTICED)


@measure("lost at")
def usable_to(seen: Evidence) -> Tensor:
    """Scale at which identity is lost; empty where no scale got there."""
    return crossing(seen.scales, identity(seen).mean(0), 1.0)


@measure("calibration", "pairs", column=Column("one pair at", place=20))
def calibration(seen: Evidence) -> Tensor:
    """Scale at which one pair's worth of change is reached."""
    return crossing(seen.scales, effect(seen).mean(0), 1.0)


@measure("matched scale", "pairs")
def matched_scale(seen: Evidence) -> Tensor:
    """Scale at which the effect reaches the share of one pair's worth that is compared at."""
    return crossing(seen.scales, effect(seen).mean(0), seen.match)


@measure(
    "matched off-target",
    "probe",
    "attribute",
    "pairs",
    column=Column("off-target", digits=3, place=40),
)
def matched_off_target(seen: Evidence) -> Tensor:
    """Off-target change at the matched scale."""
    return at(seen.scales, off_target(seen).mean(0), matched_scale(seen))


@measure("matched identity", "pairs", column=Column("identity", place=50))
def matched_identity(seen: Evidence) -> Tensor:
    """Distance from the person at the matched scale."""
    return at(seen.scales, identity(seen).mean(0), matched_scale(seen))


@measure("best share", "pairs", column=Column("at most", percent=True, place=10))
def best_share(seen: Evidence) -> Tensor:
    """Largest mean effect at any scale up to where identity is lost, in pairs' worth."""
    means, gone = effect(seen).mean(0), float(usable_to(seen))
    kept = [v for s, v in zip(seen.scales, means, strict=True) if s >= 0 and not s > gone]
    return torch.stack(kept).max()


@measure("linearity", "pairs")
def linearity(seen: Evidence) -> Tensor:
    """R² of the straight line through effect over scale, from 0 to 1.25 pairs' worth: 1 is even.

    Up to the last scale where that comes earlier; empty where no pair's worth is reached, or
    fewer than two scales lie on the way. Source: coefficient of determination of a least-squares
    line (Draper and Smith, Applied Regression Analysis, 1998), over the scale.
    """
    curve = effect(seen).mean(0)
    end = LINEAR * float(crossing(seen.scales, curve, 1.0))
    return straightness(seen.scales, curve, min(end, seen.scales[-1]))


@measure("frontier", "probe", "attribute", "pairs")
def frontier(seen: Evidence) -> Tensor:
    """Mean off-target change over the effect, from 0 to where sliders are compared: an area.

    Unlike the change at one strength it also counts the way there. Empty where the effect is not
    reached. Source: the mean difference of two rate-distortion curves over an interval
    (Bjøntegaard, Calculation of average PSNR differences between RD-curves, VCEG-M33, 2001).
    """
    means = (values.mean(0)[seen.zero :] for values in (effect(seen), off_target(seen)))
    return mean_cost(*means, seen.match)


@measure("floor", "probe", "attribute", "pairs", column=Column("floor", digits=3, place=45))
def floor(seen: Evidence) -> Tensor:
    """Off-target change that is read off the pairs themselves, at the effect compared at.

    No slider that learns from these pairs can be asked for less than what a perfect edit shows:
    the probe's own errors, and what the edit hides or the pairs differ in besides. It is taken to
    grow evenly with the edit; the probe's errors do not, so the true floor is somewhat higher.
    """
    change = seen.probe.after - seen.probe.before
    moved = seen.probe.of(change, *seen.others).abs().mean()
    full = seen.probe.of(change, seen.attribute).mean().abs()
    # Where nothing is left to do, the effect is not counted in the attribute.
    return moved * seen.match * (abs(value) / full if (value := worth(seen)) else float("nan"))


# What is found is a scale.
SCALES = frozenset({usable_from, usable_to, calibration, matched_scale})


def _compared(seen: Evidence) -> int:
    """Return the position of the first scale at the matched one or above, else of the last."""
    wanted = float(matched_scale(seen))
    return next((k for k, scale in enumerate(seen.scales) if scale >= wanted), -1)


def _ranks(values: Tensor) -> Tensor:
    """Return ranks along the second axis, ties sharing their mean."""
    left, right = values.unsqueeze(-1), values.unsqueeze(-2)
    return (left > right).float().sum(-1) + 0.5 * ((left == right).float().sum(-1) - 1)

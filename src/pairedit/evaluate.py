"""Own the measures: what a slider changed on flux-mini, read back from the images by the probe.

    target(s)     = a(s) - a(0)                      a: the edited attribute
    off-target(s) = mean over b of |b(s) - b(0)|     b: every attribute not tied to the edit

Shapes: N seeds x prompts, K scales, A attributes in the order of `faces.ATTRIBUTES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairedit.data import to_tensor
from pairedit.faces import ATTRIBUTES, EDITS, INDEX, TIED
from pairedit.probe import read
from pairedit.sample import Sample

RESAMPLES = 1000  # bootstrap draws


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Hold what one slider does along its scales."""

    edit: str
    scales: tuple[float, ...]  # K
    target: Tensor  # [N, K]
    off_target: Tensor  # [N, K]

    def reaches(self, gain: float) -> float | None:
        """Return the mean off-target change where the mean target change reaches `gain`.

        Between two scales both curves are taken as straight lines, so that methods can be compared
        at matched edit strength. None: no scale reaches it.
        """
        target, off = self.target.mean(0).tolist(), self.off_target.mean(0).tolist()
        before = (0.0, 0.0)
        for point in zip(target, off, strict=True):
            if point[0] >= gain:
                share = (gain - before[0]) / (point[0] - before[0])
                return before[1] + share * (point[1] - before[1])
            before = point
        return None


def measure(samples: Sequence[Sample], edit: str) -> Curve:
    """Measure one slider on images of flux-mini.

    Args:
        samples: from `sample.generate` with one slider, one of its scales being 0.
        edit: the attribute that its pairs move.

    Returns:
        The curve, scales ascending.

    Raises:
        ValueError: an unknown attribute, several sliders, or no scale 0 to compare with.
    """
    if edit not in EDITS:
        raise ValueError(f"edit={edit}: the probe knows {', '.join(EDITS)}")
    scales = sorted({scale for sample in samples for (scale,) in [sample.scales]})
    if 0.0 not in scales:
        raise ValueError(f"scales={scales}: 0 is missing, the image to compare with")
    lanes = list(dict.fromkeys((sample.prompt, sample.seed) for sample in samples))
    images = {(s.prompt, s.seed, s.scales[0]): to_tensor(s.image) for s in samples}
    ordered = [images[(*lane, scale)] for lane in lanes for scale in scales]
    values = read(torch.stack(ordered)).unflatten(0, (len(lanes), len(scales)))
    return curve(values, scales, edit)


def curve(values: Tensor, scales: Sequence[float], edit: str) -> Curve:
    """Turn attributes [N, K, A], read at K scales with 0 among them, into a curve."""
    change = values - values[:, [list(scales).index(0.0)]]
    others = [INDEX[name] for name in ATTRIBUTES if name != edit and name not in TIED[edit]]
    return Curve(
        edit=edit,
        scales=tuple(scales),
        target=change[..., INDEX[edit]],
        off_target=change[..., others].abs().mean(-1),
    )


def interval(values: Tensor) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of `values` [N].

    Source: Efron, Bootstrap methods: another look at the jackknife (1979); percentile interval.
    """
    generator = torch.Generator().manual_seed(0)
    picked = torch.randint(len(values), (RESAMPLES, len(values)), generator=generator)
    means = values[picked].mean(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975])).tolist()
    return low, high

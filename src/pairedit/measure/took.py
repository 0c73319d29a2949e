"""Own how well an edit took on each seed, by the best that can be told of one image.

Shapes: N lanes, K scales, D numbers of a coarse picture.
"""

from __future__ import annotations

from torch import Tensor

from pairedit.measure.effect import worth
from pairedit.measure.evidence import Evidence
from pairedit.measure.picture import along


def took(seen: Evidence) -> tuple[Tensor, str]:
    """Say how well the edit took, [N, K], and what tells: more is better at a positive scale.

    Where a probe reads the edited attribute, its change as a share of what the pairs show; else how
    far the coarse picture moves along the pairs' change, 1 as far as they; without pairs how much
    changes at all.
    """
    if value := worth(seen):
        change = seen.attributes(seen.attribute)[..., 0] / value
        return change, f"the change of {seen.attribute} that the probe reads, 1 is one pair's worth"
    if {"probe", "attribute"} <= seen.has and "pairs" not in seen.has:
        return seen.attributes(seen.attribute)[
            ..., 0
        ], f"the change of {seen.attribute} that the probe reads"
    if "pairs" in seen.has:
        return along(
            seen
        ), "how far the coarse picture changes as the pairs do, 1 is as far as they do"
    return seen.change, "how much changes at all, because there are no pairs to compare with"

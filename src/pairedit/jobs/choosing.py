"""Own the overview of a slider: many seeds, ordered by how well the edit worked."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from PIL import Image

from pairedit.bases.base import Base
from pairedit.files import locate
from pairedit.measure.evaluate import witness
from pairedit.measure.readers import AttributeProbe, open_readers
from pairedit.measure.took import took
from pairedit.pictures.lanes import lanes_of
from pairedit.pictures.overview import draw_overview
from pairedit.plan.gen import GenPlan
from pairedit.sample import Sample

log = logging.getLogger(__name__)


def show_overview(base: Base, plan: GenPlan, samples: Sequence[Sample]) -> Image.Image:
    """Arrange seeds from the one where the edit worked best to the one where it worked least.

    Args:
        base: the model.
        plan: of the rendering: one slider at two scales.
        samples: as they were rendered.
    """
    lanes, subject = lanes_of(samples), plan.overview
    scales = sorted(sample.scales[0] for sample in lanes[0])
    scale = next(scale for scale in scales if scale)
    readers, _ = open_readers(
        {"probe": AttributeProbe()},
        model=locate(plan.model.path),
        size=plan.rendering.size,
        device=str(base.device),
    )
    placed = {
        (number, scales.index(sample.scales[0])): sample
        for number, lane in enumerate(lanes)
        for sample in lane
    }
    seen = witness(subject, placed, tuple(scales), plan.rendering.size, readers)
    found, told = took(seen)
    values = found[:, scales.index(scale)].tolist()
    sign = -1.0 if scale < 0 else 1.0
    order = sorted(range(len(lanes)), key=lambda number: -sign * values[number])
    title = f"{subject.dataset}: scale 0 and {scale:g} of {len(lanes)} seeds, by {told}"
    log.info("%s", title)
    several = len({lane[0].prompt for lane in lanes}) > 1
    cells, labels = [], []
    for number in order:
        zero, other = (placed[number, scales.index(value)] for value in (0.0, scale))
        cells.append((zero.image, other.image))
        words = f"{zero.prompt} · " if several else ""
        labels.append(f"{words}seed {zero.seed} · {values[number]:.2f}")
    return draw_overview(cells, labels, title=title)

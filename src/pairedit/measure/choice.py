"""Own how a slider is best used: what its pairs say, and what a few trials say.

The pairs show how much of the picture the edit changes. Edits of a part of it gain by local
sampling, edits of the whole picture lose (docs/method.md has the figures). If a probe reads the
edit, skip and schedule are tried on a few seeds: the least off-target change on the way to one
pair's worth wins. What is tried edits the finished picture (see `flowedit`), which all share.
Without a probe nothing is tried, and sliders act on the way as the base has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pairedit.bases.base import Base
from pairedit.data.examples import Pair
from pairedit.data.shapes import Sizing
from pairedit.local import spread
from pairedit.lora.file import LoraFile
from pairedit.measure import measures
from pairedit.measure.evaluate import Setting, render_all, witness
from pairedit.measure.evidence import Evidence
from pairedit.measure.readers import Instrument
from pairedit.measure.subject import Subject, Unit
from pairedit.measure.unit import unit_of
from pairedit.settings import Use
from pairedit.train import encode_pairs

# Of the picture; shipped edits reach .08 to .34, age and tilt .51 to .55.
WHOLE_PICTURE = 0.45
SEEDS = range(500, 503)  # of the trials: neither those of previews nor of evaluations
SCALES = (0.0, 0.25, 0.5, 0.8)  # of the trials
# Share of one pair's worth up to which uses are compared. Half of it is little for an edit that
# few people have room for, and weak uses look good there.
MATCH = 1.0
# All edit the finished picture, which is rendered once for all of them.
LOCAL = (
    Use(skip=0.8, local=True, lean=1.0, flowedit=True),
    Use(skip=0.6, local=True, lean=1.0, flowedit=True),
    Use(skip=0.45, local=True, flowedit=True),
)
WHOLE = tuple(Use(skip=skip, flowedit=True) for skip in (0.45, 0.6, 0.75))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Hold how a slider is best used, as far as it is known."""

    use: Use
    by: str  # pairs or probe
    reach: float  # share of the picture that the pairs change
    unit: Unit | None = None  # the scale worth one pair; None where no trial got there


def by_pairs(base: Base, pairs: Sequence[Pair], sizing: Sizing) -> Choice:
    """Choose by what the pairs show.

    Args:
        base: the model, which encodes them.
        pairs: at least one.
        sizing: what they are brought to.
    """
    changes = []
    for example in encode_pairs(base, pairs, sizing):
        source, target = example.sides
        change = target.mean - source.mean
        changes.append(change if example.mask is None else example.mask * change)
    reach = spread(changes)
    return Choice(use=Use(local=reach < WHOLE_PICTURE), by="pairs", reach=reach)


def by_trial(
    base: Base,
    subject: Subject,
    lora: LoraFile,
    *,
    first: Choice,
    setting: Setting,
    readers: Mapping[str, Instrument],
) -> Choice:
    """Try skip and schedule on a few seeds, as edits of the finished picture.

    Without a probe, or where the edited attribute would be guessed, nothing is tried.

    Args:
        base: the model, without LoRAs.
        subject: the slider, with its pairs.
        lora: its file, as read.
        first: the choice by its pairs.
        setting: how to render; the seeds are the trials' own.
        readers: instruments by name.
    """
    columns = {name for instrument in readers.values() for name in instrument.columns}
    if subject.attribute not in columns:
        return first
    uses = LOCAL if first.use.local else WHOLE
    tried = [subject.used(use) for use in uses]
    setting = replace(setting, prompts=setting.prompts[:1], seeds=SEEDS)
    scales, images = render_all(base, tried, {lora.path: lora}, scales=SCALES, setting=setting)
    size = setting.rendering.size
    seen = [witness(subject, found, scales, size, readers, MATCH) for found in images]
    best = min(range(len(uses)), key=lambda index: _cost(seen[index]))
    return replace(first, use=uses[best], by="probe", unit=unit_of(seen[best]))


def _cost(seen: Evidence) -> tuple[bool, float]:
    """Order uses by off-target change; those that do not get so far come last, by how far."""
    area = float(measures.frontier(seen))
    reached = area == area
    return not reached, area if reached else -float(measures.best_share(seen))

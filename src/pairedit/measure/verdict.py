"""Own the verdict on a slider in one word, and all advice: it names keys, as nothing else here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pairedit.measure.effect import NOTICED, effect, identity
from pairedit.measure.evidence import Evidence
from pairedit.measure.intervals import at, crossing
from pairedit.measure.picture import direction, place
from pairedit.measure.subject import FEWEST
from pairedit.runs.resume import ANY_RUN

UNCHANGED = 0.05  # shares of the pairs' image distance: below, nothing changes
UNCHANGED_PIXELS = 0.005  # root mean square where no pairs are known; 1 is black to white
# Cosine of where images change and where pairs differ. Perfect edits of other people have .88 and
# more, for each of the nine shipped ones, half of such an edit .59 and more, sliders of 60 steps
# .75 and .87; hair turned red under pairs that put on a red hat .36, no other edit more than .43.
ALIKE = 0.5
# A number of steps means the reverse of a noise level, so the advice names the level.
# Cosine from which on as much changes beside the place of the edit as in it: the square root of a
# half. At one pair's worth perfect edits of other people have .75 and more, for each of the nine
# shipped ones; red noses at scales where they smear eyes and mouths .71 and less.
CLEAN = 0.5**0.5
MORE = "train longer ({train} with a larger steps=)"
LONGER = "let the slider act longer (a higher noise level, such as skip=0.85)"
# The largest scale that is advised, here and on the pages: at 3.8 faces were destroyed.
HIGHEST = 3.0
LARGER = (
    "render larger scales (pairedit-gen {lora} 'scales=[0,1,1.5,2,3]') and look at what else they "
    "change, "
)
ADVICE = {
    "no-op": f"the images stay as they are: {MORE}, {{larger}}{LONGER}, or raise learning_rate "
    "or cfg_eta",
    "destructive": "the person is lost at the smallest scale: use smaller scales, or train with "
    "a lower learning_rate, fewer steps or a lower cfg_eta",
    "reversed": "it undoes the edit: swap source/ and target/, or use negative scales",
    "off target": f"it changes the images, but hardly what the pairs change: {MORE}, try another "
    f"method or more pairs, or {LONGER}",
    "weak": f"it does what the pairs show, but not much: {MORE}, {{larger}}{LONGER}, or raise "
    "cfg_eta",
    "unlike": "the images do not change where the pairs differ: look at them, train longer, "
    "or use pairs that differ in nothing else",
    "damaging": "it does what the pairs show, but where it does so, more changes beside it "
    "than in its place: use smaller scales, or train with more pairs, fewer steps or a lower "
    "learning_rate",
    "changes": "the images change, but nothing here can tell whether as asked: look at them, or "
    "name what should change (attribute=, for flux-mini)",
    "works": "",
}
# Instead of these, where half of one pair's worth is reached.
SHORT = f"no scale that was tried is worth one pair: {MORE}, {{larger}}or {LONGER}"
NOT_KNOWN = "attribute=none: no reader knows the edit"
NOTHING_STANDS_OUT = "no attribute stands out in the pairs"
MORE_SEEDS = "train each from several seeds (seed=0,1,2)"
USED_ALIKE = "give skip=, local=, schedule= and flowedit= to use all alike"
COUNTED = "calibrated=true takes it for one pair"
NO_PAIRS = "the pairs were not found; name them with pairs="
NOT_ASKED = "reader={} was not asked for"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Hold one of `ADVICE` and the figures behind it."""

    name: str
    change: float  # largest image change, root mean square
    best: float  # largest effect before identity is lost, in pairs' worth
    lost_at: float | None  # scale at which identity is lost
    last: float  # the largest scale that was tried
    short: bool = False  # half of one pair's worth is reached, and no scale is worth one pair
    doubt: str = ""  # what it rests on, where no attribute was named that a probe reads

    @property
    def told(self) -> str:
        """Name it, with its doubt."""
        return f"{self.name} ({self.doubt})" if self.doubt else self.name

    def advise(self, lora: str = "lora=FILE", train: str = ANY_RUN) -> str:
        """Say what to do with a slider, in commands that can be typed.

        Args:
            lora: words that name it, with what else the command needs.
            train: the command that goes on with its training.
        """
        larger = LARGER.format(lora=lora) if self.last < HIGHEST else ""
        text = SHORT if self.short else ADVICE[self.name]
        return text.format(larger=larger, train=train)


def judge(seen: Evidence) -> Verdict:
    """Judge a slider by its positive scales.

    no-op: the images hardly change. destructive: identity is lost by the first scale, or before
    anything of the edit is seen. reversed: the edit moves the other way. off target: less than a
    tenth of one pair's worth. weak: less than `_enough` of it. works: more. unlike: either
    of these by the attribute, which does not tell what else the pairs show, while at no scale the
    images change where the pairs differ; the same of an edit that no reader knows. damaging: one
    pair's worth is reached, but more changes beside what the pairs change. Where nobody
    named the attribute, the pictures tell all of this, and those that change elsewhere reverse
    nothing. Without a reader that tells directions apart, the image distance alone decides.
    Without pairs the attribute's range stands for their worth and nothing is weak; without
    either, what is neither a no-op nor destructive merely changes.
    """
    scales = seen.scales
    up = [k for k, scale in enumerate(scales) if scale > 0]
    change, shares = seen.change.mean(0), effect(seen).mean(0)
    gone = float(crossing(scales, identity(seen).mean(0), 1.0))
    kept = [k for k in up if not scales[k] >= gone]
    largest = float(change[up].max()) if up else 0.0
    best = float(shares[kept].max()) if kept else 0.0
    floor = UNCHANGED * seen.pair_distance if seen.pair_distance else UNCHANGED_PIXELS
    paired = seen.pair_distance is not None
    known = paired and ("attribute" in seen.has or seen.unread)  # else its place tells little
    name = "works"
    if largest < floor:
        name = "no-op"
    elif not kept:
        name = "destructive"
    elif not paired and "attribute" not in seen.has:
        name = "changes"
    elif best < NOTICED and float(shares[kept].min()) < -NOTICED / 2 and _tells(seen, kept):
        name = "reversed"
    elif best < NOTICED:
        name = "destructive" if gone == gone else "off target"
    elif known and not _alike(seen, kept):
        name = "unlike"
    elif paired and best < _enough(seen):
        name = "weak"
    elif known and not _clean(seen, shares):
        name = "damaging"
    return Verdict(
        name=name,
        change=largest,
        best=best,
        lost_at=gone if not torch.tensor(gone).isnan() else None,
        last=scales[-1],
        short=paired and name in ("works", "weak") and seen.match <= best < 1,
        doubt=_doubt(seen),
    )


def _enough(seen: Evidence) -> float:
    """Return the share of one pair's worth from which on a slider works.

    All of it where no probe reads a named attribute. A red nose of 60 steps got to .78 in smeared
    faces, and changed where the pairs differ (a cosine of .89): at so few pixels smears are an
    edit.
    """
    named = seen.attribute is not None and not seen.guessed
    return seen.match if named else 1.0


def _clean(seen: Evidence, shares: Tensor) -> bool:
    """Say whether at one pair's worth no more changes beside the pairs' change than in it.

    Where the pictures alone tell the effect, the colours count, too. A slider that does not get so
    far is not asked: half an edit may be in another place, as half-long hair is. Nor are few
    people: one who holds the head aside changes in other places than the pairs do.

    Args:
        seen: the slider.
        shares: mean effect at each scale, [K].
    """
    one = crossing(seen.scales, shares, 1.0)
    if torch.isnan(one) or "picture" not in seen.has or len(seen.distance) < FEWEST:
        return True
    colours = seen.by_pictures and "clip" not in seen.has
    told = [place(seen), *([direction(seen)] if colours else [])]
    return all(float(at(seen.scales, cosine, one)) >= CLEAN for cosine in told)


def guess(seen: Evidence) -> str:
    """Say that nobody named the edit, what was made of it, and how to name it."""
    if seen.attribute:
        return (
            f"nobody named what the pairs change, so the pictures decide; {seen.attribute} is a "
            "guess, because it is what they move most; if it is right, name it (pairedit-eval "
            f"attribute={seen.attribute}); if the probe does not know the edit, say attribute=none"
        )
    return (
        f"nobody named what the pairs change, and {NOTHING_STANDS_OUT}, so the pictures alone "
        "decide; if the probe reads the edit, name it (pairedit-eval attribute=NAME)"
    )


def not_known(seen: Evidence) -> str:
    """Say why no attribute of an edit is read."""
    return NOTHING_STANDS_OUT if seen.guessed else NOT_KNOWN


def _doubt(seen: Evidence) -> str:
    """Say what a verdict rests on where it is no attribute that somebody named."""
    if not seen.by_pictures:
        return ""
    by = "by CLIP" if "clip" in seen.has else "by the pictures alone"
    return f"{by}; nobody named the edit" if seen.guessed else by


def _tells(seen: Evidence, kept: list[int]) -> bool:
    """Say whether the other way is known to be that of the edit.

    Pictures tell it by their place, or by their direction, which asks for more: the place and the
    colours. So half of the cosine does there.
    """
    if not seen.by_pictures or _alike(seen, kept):
        return True
    return float(direction(seen)[kept].min()) <= -ALIKE / 2


def _alike(seen: Evidence, kept: list[int]) -> bool:
    """Say whether at any of some scales images change where the pairs differ, if that is known."""
    return "picture" not in seen.has or float(place(seen)[kept].max()) >= ALIKE

"""Own the findings in words: what a slider does, from where to where, and what else moves."""

from __future__ import annotations

from collections.abc import Sequence

from pairedit.measure import measures
from pairedit.measure.evaluate import Result
from pairedit.measure.evidence import Measure
from pairedit.measure.families import families, spread, value_of
from pairedit.measure.subject import Subject, Unit
from pairedit.measure.table import comparable, moved
from pairedit.measure.verdict import COUNTED, guess, not_known
from pairedit.settings import scale_text

SEEN = 0.05  # of an attribute's range: what moves less is not named
NAMED = 3  # attributes that move besides the edit
PUBLISHED = "full"  # the method of the published code
UNKNOWN = "What else moves is not known"
BY_PIXELS = "The way to another person is measured by the pixels alone."  # where no probe reads it
FAILED = {
    "no-op": "It changes nothing that can be seen, up to scale {last:g}.",
    "destructive": "Everybody becomes another person before anything of the edit is seen.",
    "reversed": "It does the opposite of what the pairs show.",
    "off target": "It changes the pictures, but hardly what the pairs change.",
    "unlike": "It {moves}, but the pictures do not change where those of the pairs do.",
    "damaging": "It does what the pairs show, but where it is worth one pair more changes beside "
    "their change than in it. Use smaller scales.",
    "changes": "It changes the pictures. Nobody can tell whether it does what was asked, because "
    "neither pairs nor an attribute are known.",
}


def found(group: Sequence[Result]) -> list[str]:
    """Say in full sentences what was found out of the sliders of one edit."""
    return _of_one(group[0]) if len(group) == 1 else _of_several(group)


def in_order(group: Sequence[Result]) -> list[Result]:
    """Put the published method first; the others stay in their order."""
    return sorted(group, key=lambda result: result.subject.method != PUBLISHED)


def _of_one(result: Result) -> list[str]:
    """Say what one slider does and what else moves."""
    sentences = [_does(result), _besides(result)]
    if result.seen.guessed:
        sentences.append(f"{capital(guess(result.seen))}.")
    return [sentence for sentence in sentences if sentence]


def _does(result: Result) -> str:
    """Say what a slider does, from which scale to which."""
    verdict, seen = result.verdict, result.seen
    last = seen.scales[-1]
    if verdict.name in FAILED:
        named = seen.attribute and not seen.guessed
        moves = f"moves {seen.attribute}" if named else "changes something"
        return FAILED[verdict.name].format(last=last, moves=moves)
    paired = "pairs" in seen.has
    start, unit = value_of(result, measures.usable_from), result.recommended
    noted = unit and result.subject.unit
    what, doubt = _what(result)
    parts = [what + (f" from scale {scale_text(start)} on" if start is not None else "") + doubt]
    if noted:
        does = f"is worth one pair {noted}, as its file notes"
        parts.append(f"{_scaled(result.subject, noted)} {does}")
    elif paired and unit is not None:
        told = seen.attribute or seen.unread or "clip" in seen.has
        does = "is worth one pair" if told else "changes as much as the pairs differ"
        parts.append(f"{_scaled(result.subject, unit)} {does} {unit}")
    elif paired:
        none = f"no scale up to {last:g} is worth one pair: " * (verdict.best < 1)
        parts.append(f"{none}it gets to {100 * verdict.best:.0f} % of what the pairs show")
    lost = verdict.lost_at
    if lost is not None:
        parts.append(f"from scale {scale_text(lost)} on it is another person")
    elif result.usable and seen.probe:
        kept = f"people stay who they are up to scale {last:g}, the largest that was tried"
        parts.append(kept)
    parts += _which(noted, result) if noted else []
    return " ".join(f"{capital(part)}." for part in parts)


def _which(noted: Unit, result: Result) -> list[str]:
    """Say which scale to use, that of the file or that of this page, and why they differ."""
    here, one = result.unit, len(result.seen.distance) == 1
    them = f"the {'person' if one else 'people'} on this page"
    if here is None:
        gets = "does not get" if one else "do not get"
        there = f"{them} {gets} to one pair's worth at any scale that was tried"
    else:
        there = f"for {them} it is {scale_text(here.scale)} {here}"
    return [
        f"use scale {scale_text(noted.scale)} ({COUNTED})",
        "it was found on other people",
        f"{there}, because people differ in how much is left to change",
    ]


def _scaled(subject: Subject, unit: Unit) -> str:
    """Name the scale that is worth one pair, and the use without which it is not."""
    return f"scale {scale_text(unit.scale)}{' on the finished picture' * subject.flowedit}"


def _what(result: Result) -> tuple[str, str]:
    """Say what changes, and what of it nothing here has read."""
    seen = result.seen
    if seen.attribute and not seen.guessed:
        return f"It changes {seen.attribute}{' as its pairs do' * ('pairs' in seen.has)}", ""
    along = "It changes the pictures in the direction of its pairs"
    if seen.guessed and seen.attribute:
        along += f" (is it {seen.attribute}? a guess: nobody named the edit)"
    if "clip" in seen.has:
        return along, ", as CLIP reads it"
    if seen.by_pictures and "pairs" in seen.has:
        return along, ", as the pictures themselves tell"
    return "It changes the pictures", ", but nothing here reads what changes"


def _besides(result: Result) -> str:
    """Say what else moves where a slider is compared with others."""
    if result.verdict.name == "no-op":
        return ""
    seen, change = result.seen, moved(result)
    if seen.unread:
        return f"{UNKNOWN} ({not_known(seen)}). {BY_PIXELS}"
    if not change:
        return f"{UNKNOWN}, because nothing here reads attributes. {BY_PIXELS}"
    own = {seen.attribute, *seen.tied}
    others = {name: value for name, value in change.items() if name not in own}
    scale, matched = comparable(result)
    where = f"At scale {scale_text(scale)}"
    if matched:
        where += f", where it is worth {100 * seen.match:.0f} % of a pair"
    most = sorted(others, key=lambda name: -abs(others[name]))
    named = [name for name in most if abs(others[name]) >= SEEN]
    if not named:
        return f"{where}, nothing else moves by more than {100 * SEEN:.0f} % of its range."
    shown = [f"{name} ({100 * others[name]:+.0f} %)" for name in named[:NAMED]]
    if rest := len(named) - len(shown):
        return f"{where}, {', '.join(shown)} and {rest} more also move, in % of their ranges."
    return (
        f"{where}, {_listed(shown)} also move{'s' * (len(shown) == 1)}, in % of the range; "
        f"nothing else moves by more than {100 * SEEN:.0f} %."
    )


def _of_several(group: Sequence[Result]) -> list[str]:
    """Say which of several sliders work, and what they cost at equal strength."""
    works = [result for result in group if result.verdict.name == "works"]
    sentences = [f"{len(works)} of {len(group)} sliders do what the pairs show."]
    if "pairs" in group[0].seen.has and not any(result.recommended for result in group):
        sentences.append("No scale of theirs is worth one pair.")
    for measured, what in (
        (measures.matched_off_target, "of everything else"),
        (measures.matched_identity, "of the way to another person"),
    ):
        costs = _costs(group, measured)
        if len(costs) > 1:
            least, most = min(costs, key=costs.__getitem__), max(costs, key=costs.__getitem__)
            text = f"At equal strength {least} changes least besides the edit, {costs[least]:.3f} "
            text += f"{what}, and {most} changes most, {costs[most]:.3f}"
            others = PUBLISHED in costs and PUBLISHED not in (least, most)
            if others:
                text += f"; the published method ({PUBLISHED}) changes {costs[PUBLISHED]:.3f}"
            sentences.append(text + ".")
            if doubt := _doubt(group, measured, least, most):
                sentences.append(f"{doubt}, so this does not show that they differ.")
            break
    guesses = [guess(result.seen) for result in group if result.seen.guessed]
    return sentences + [f"{capital(text)}." for text in guesses[:1]]


def _costs(group: Sequence[Result], measured: Measure) -> dict[str, float]:
    """Return what each slider, or the mean of those that differ in their seeds, costs."""
    costs = {}
    for family in families(group):
        values = [v for r in family.members if (v := value_of(r, measured)) is not None]
        if values:
            alone = len(family.members) == 1
            label = family.members[0].subject.label if alone else family.label
            costs[label] = spread(values)[0]
    return costs


def _doubt(group: Sequence[Result], measured: Measure, least: str, most: str) -> str:
    """Say why two sliders that stand for themselves may not differ; nothing where they do."""
    known = {r.subject.label: r.summaries[measured] for r in group if measured in r.summaries}
    if least not in known or most not in known:
        return ""  # several trainings of each are compared by a test
    if known[least].few or known[most].few:
        return f"There is no interval of so few people ({len(group[0].seen.distance)})"
    overlap = float(known[most].low) <= float(known[least].high)
    return "Their 95 % intervals overlap" if overlap else ""


def capital(text: str) -> str:
    """Begin a sentence."""
    return text[0].upper() + text[1:]


def _listed(words: Sequence[str]) -> str:
    """Join words by commas and `and`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last

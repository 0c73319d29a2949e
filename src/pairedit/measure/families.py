"""Own what several trainings of one setting tell: mean and spread over them, and paired tests.

Sliders that differ in the seed of their training alone are one family. Two families are compared
on pairs of the same edit and seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from pairedit.measure import measures
from pairedit.measure.evaluate import Result
from pairedit.measure.evidence import Measure
from pairedit.measure.verdict import MORE_SEEDS, USED_ALIKE

SURE = 0.05  # a smaller p counts as a difference
SHOWN = 14  # sliders side by side, in pictures and curves
MOST = 6  # families that are compared in words, each with each


@dataclass(frozen=True, kw_only=True)
class Family:
    """Hold the sliders of one edit that differ in their seeds alone."""

    dataset: str
    label: str
    members: Sequence[Result]


def families(results: Sequence[Result]) -> list[Family]:
    """Put results together that differ in the seed alone, in the order they come."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        subject = result.subject
        groups.setdefault((subject.dataset, subject.family or subject.label), []).append(result)
    return [Family(dataset=d, label=name, members=group) for (d, name), group in groups.items()]


def value_of(result: Result, measured: Measure) -> float | None:
    """Return one number of a slider, of a curve where it ends; None where there is none."""
    summary = result.summaries.get(measured)
    value = math.nan if summary is None else float(summary.mean.flatten()[-1])
    return value if math.isfinite(value) else None


def leading(results: Sequence[Result]) -> list[Result]:
    """Pick the sliders of one edit that pictures have room for: those that cost least."""
    if len(results) <= SHOWN:
        return list(results)

    def cost(result: Result) -> float:
        known = (measures.matched_off_target, measures.matched_identity)
        values = [v for m in known if (v := value_of(result, m)) is not None]
        return values[0] if values else math.inf

    best = sorted(range(len(results)), key=lambda place: cost(results[place]))[:SHOWN]
    return [results[place] for place in sorted(best)]


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation, that of what the values are drawn from."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def signed_rank(differences: Sequence[float]) -> float:
    """Return the two-sided p of the exact signed-rank test that differences lie around 0.

    Zeros are left out; equal sizes share their ranks. Every choice of signs is counted.
    Source: Wilcoxon, Individual comparisons by ranking methods (1945); zeros and ties as there.
    """
    kept = [d for d in differences if d]
    if not kept:
        return 1.0
    sizes = sorted(map(abs, kept))
    # Twice the mean rank, so that shared ranks are whole numbers.
    rank = {size: 2 * sizes.index(size) + sizes.count(size) + 1 for size in set(sizes)}
    ways = {0: 1}  # sums of the ranks of positive signs, and in how many ways they come about
    for size in sizes:
        more = dict(ways)
        for total, count in ways.items():
            more[total + rank[size]] = more.get(total + rank[size], 0) + count
        ways = more
    seen = sum(rank[abs(d)] for d in kept if d > 0)
    whole = sum(rank[size] for size in sizes)
    low = min(seen, whole - seen)
    return min(1.0, 2 * sum(n for total, n in ways.items() if total <= low) / 2 ** len(kept))


def comparisons(results: Sequence[Result]) -> Iterator[str]:
    """Say in words which families differ, where several trainings of each allow to tell."""
    for measured, what in (
        (measures.matched_off_target, "off-target at matched strength"),
        (measures.matched_identity, "distance from the person at matched strength"),
    ):
        known = _placed(results, measured)
        if not 2 <= len(known) <= MOST:
            continue
        for one, other in combinations(known, 2):
            shared = known[one].keys() & known[other].keys()
            if len(shared) > 1:
                pairs = [
                    (known[one][place], known[other][place]) for place in sorted(shared, key=str)
                ]
                yield _in_words(one, other, pairs, what)


def silence(results: Sequence[Result], differences: Sequence[str]) -> str | None:
    """Say why there are no `comparisons` of several settings; None where there are, or of one.

    Args:
        results: of all sliders.
        differences: what `comparisons` says of them.
    """
    labels = dict.fromkeys(family.label for family in families(results))
    if len(labels) < 2 or differences:
        return None
    lead = "No sentence says whether they differ"
    if len(labels) > MOST:
        return f"{lead}: at most {MOST} settings are compared, and there are {len(labels)}."
    if len(_placed(results, measures.matched_identity)) < 2:
        return f"{lead}: fewer than two of them get to the strength at which they are compared."
    return (
        f"{lead}: that takes two trainings of each, or more, with the same edits and seeds; "
        f"{MORE_SEEDS}."
    )


def uses(results: Sequence[Result]) -> str | None:
    """Say in which use several sliders were measured; None of one alone."""
    if len(results) < 2:
        return None
    found: dict[str, list[str]] = {}
    for result in results:
        found.setdefault(str(result.subject.use), []).append(_name(result, results))
    if len(found) == 1:
        return f"All were measured with {next(iter(found))}."
    told = "; ".join(
        f"{_few(list(dict.fromkeys(names)))} with {use}" for use, names in found.items()
    )
    return (
        f"They were measured in different uses: {told}. A difference may come from that, too; "
        f"{USED_ALIKE}."
    )


def _name(result: Result, results: Sequence[Result]) -> str:
    """Name a slider among others, whatever its seed, by its edit where there are several."""
    subject = result.subject
    several = len({other.subject.dataset for other in results}) > 1
    label = subject.family or subject.label
    return f"{label} on {subject.dataset}" if several else label


def _few(names: Sequence[str]) -> str:
    """List names, not all of very many."""
    left = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {left} more" if left > 0 else "")


def _placed(
    results: Sequence[Result], measured: Measure
) -> dict[str, dict[tuple[str, int | None], float]]:
    """Return the values of one measure by family, and by edit and seed."""
    known: dict[str, dict[tuple[str, int | None], float]] = {}
    for family in families(results):
        for result in family.members:
            value = value_of(result, measured)
            if value is not None:
                place = family.dataset, result.subject.seed
                known.setdefault(family.label, {})[place] = value
    return known


def _in_words(one: str, other: str, pairs: Sequence[tuple[float, float]], what: str) -> str:
    """Say whether two families differ in one measure, of which less is better."""
    differences = [left - right for left, right in pairs]
    mean, _ = spread(differences)
    better, worse = (one, other) if mean <= 0 else (other, one)
    count = sum(d < 0 if better == one else d > 0 for d in differences)
    p = signed_rank(differences)
    least = 2 / 2 ** len(pairs)
    if p < SURE:
        verdict = "they differ"
    elif least > SURE:
        verdict = f"{len(pairs)} pairs are too few to tell, p cannot be below {least:.2g}"
    else:
        verdict = "this does not show that they differ"
    return (
        f"{what}: {better} is lower than {worse} in {count} of {len(pairs)} pairs of the same edit "
        f"and seed, by {abs(mean):.3f} in the mean; exact signed-rank test p = {p:.2g}: {verdict}."
    )

"""Own where LoRAs sit: the patterns that choose from the linear modules of a model's blocks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from pairedit.lora.names import Names
from pairedit.problems import Invalid


def match_targets(modules: Iterable[str], targets: str | Sequence[str], names: Names) -> list[str]:
    """Choose the modules that a LoRA is to be attached to.

    Args:
        modules: names of linear modules; those outside the blocks are never chosen.
        targets: a name of `names.targets`, or regular expressions. Each is matched against a
            module's whole name, or against any end of what follows the block's name and number.
        names: what the base model says of its modules.

    Returns:
        Module names in the given order; at least one for each pattern.

    Raises:
        Invalid: an unknown name, bad patterns, or some that match nothing, each with what comes
            close to it.
    """
    if isinstance(targets, str):
        if targets not in names.targets:
            known = ", ".join(names.targets)
            raise Invalid({"targets": f"{targets}: expected {known}, or a list of patterns"})
        targets = names.targets[targets]
    tails = {name: name[match.end() :] for name in modules if (match := names.block.match(name))}
    found: set[str] = set()
    problems = []
    for pattern in targets:
        try:
            whole, ending = re.compile(pattern), re.compile(rf"(.*\.)?({pattern})")
        except (re.error, TypeError) as error:
            problem = f"{_listed(targets)}: {pattern!r} is no pattern ({error})"
            raise Invalid({"targets": problem}) from error
        matches = {
            name for name, tail in tails.items() if ending.fullmatch(tail) or whole.fullmatch(name)
        }
        if not matches:
            near = _near_misses(pattern, tails, names)
            problems.append(f"{pattern!r} matches no module; near it: {', '.join(near)}")
        found |= matches
    if problems:
        raise Invalid({"targets": f"{_listed(targets)}: {'; '.join(problems)}"})
    return [name for name in tails if name in found]


def _listed(targets: Sequence[str]) -> str:
    return f"[{','.join(map(str, targets))}]"


def _near_misses(pattern: str, tails: dict[str, str], names: Names) -> list[str]:
    """Return the modules that look most like a pattern: whole names if it names a block."""
    plain = re.sub(r"\\d[+*]?|[\\^$()*+?]", "", pattern)
    block = any(kind.name in plain for kind in names.kinds)
    known = list(tails) if block else list(dict.fromkeys(tails.values()))
    # A pattern may be the last part alone: `to_qq` is close to attn.to_q.
    endings = {name: name for name in known} | {
        name.rsplit(".", 1)[-1]: name for name in reversed(known)
    }
    close = difflib.get_close_matches(plain, endings, n=6, cutoff=0.45)
    return list(dict.fromkeys(endings[name] for name in close)) or known

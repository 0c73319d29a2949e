"""Own the names of a sweep's jobs: what differs among them, in the shortest clear form.

A name once given is kept in `jobs.yaml`, so that a sweep which goes on finds its folders again, and
an evaluation knows what was swept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pairedit.files import read_yaml, write_yaml
from pairedit.plan.keys import folder_name
from pairedit.runs.words import key_of

JOBS = "jobs.yaml"
BARE = ("method", "dataset", "model", "edit")  # whose values say what they are
IGNORED = ("resume", "again")


class Names:
    """Name the jobs of one sweep's folder."""

    def __init__(self, folder: Path) -> None:
        """Read the names that were given already."""
        self._path = folder / JOBS
        self._known: dict[str, list[str]] = {}
        if self._path.is_file():
            self._known = read_yaml(self._path, dict)

    def of(self, jobs: Sequence[Sequence[str]], *, searched: bool) -> list[str]:
        """Name jobs, and note their names.

        Args:
            jobs: the overrides of each.
            searched: a search draws them bit by bit, so they are numbered.

        Raises:
            ValueError: two of them are the same job.
        """
        plain = [[word for word in words if key_of(word) not in IGNORED] for words in jobs]
        kept = {tuple(words): name for name, words in self._known.items()}
        fresh = [words for words in plain if tuple(words) not in kept]
        if searched:
            first = len(self._known) + 1
            made = [f"trial-{number:03d}" for number in range(first, first + len(fresh))]
        else:
            made = self._made(fresh, [*self._known.values(), *fresh])
        for words, name in zip(fresh, made, strict=True):
            kept[tuple(words)] = name
        names = [kept[tuple(words)] for words in plain]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            words = " ".join(plain[names.index(twice[0])])
            raise ValueError(f"-m: two jobs are the same: {words}; write each value once")
        known = {**self._known, **dict(zip(names, plain, strict=True))}
        if known != self._known:
            write_yaml(self._path, known)
        return names

    def _made(self, fresh: Sequence[Sequence[str]], every: Sequence[Sequence[str]]) -> list[str]:
        """Make names of what differs; of all that was set where that does not tell jobs apart."""
        swept = differing(every)
        short = [short_name(words, swept) for words in fresh]
        taken = {*self._known, *(p.name for p in self._path.parent.glob("*/") if p.is_dir())}
        clear = len(set(short)) == len(fresh) and not taken & set(short) and all(short)
        return short if clear else [folder_name(words) for words in fresh]


def differing(jobs: Sequence[Sequence[str]]) -> list[str]:
    """List the keys whose values are not the same in all jobs, in the order they were set."""
    values: dict[str, set[str | None]] = {}
    for words in jobs:
        for word in words:
            values.setdefault(key_of(word), set())
    for words in jobs:
        given = {key_of(word): word for word in words}
        for key, seen in values.items():
            seen.add(given.get(key))
    return [key for key, seen in values.items() if len(seen) > 1]


def short_keys(keys: Sequence[str]) -> Mapping[str, str]:
    """Shorten keys to their last part where that is theirs alone."""
    ends = Counter(key.rsplit(".", 1)[-1] for key in keys)
    return {
        key: end if ends[end := key.rsplit(".", 1)[-1]] == 1 else key.replace(".", "-")
        for key in keys
    }


def short_name(words: Sequence[str], swept: Sequence[str]) -> str:
    """Name a job by the values of some keys, so that its path needs no quotes anywhere."""
    shorter, parts = short_keys(swept), []
    for word in words:
        key = key_of(word)
        if key not in swept:
            continue
        value = re.sub(r"[\[\]'\"\s]", "", word.partition("=")[2]).replace(",", "+")
        safe = re.sub(r"[^\w.+-]+", "-", value, flags=re.ASCII)
        parts.append(safe if key in BARE else f"{shorter[key]}-{safe}")
    return "_".join(parts)

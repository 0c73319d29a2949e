"""Own the names of sliders that are compared: what differs among their trainings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pairedit.measure.subject import Subject
from pairedit.runs.folder import flat

# Of a training's configuration: what says where things are, or what is not learnt from.
LEFT_OUT = (
    *("datasets.", "sweep", "tracker", "hardware", "device", "resume", "preview", "report"),
    *("score", "save_every", "snapshots", "pairs", "images", "image_ids", "model.path"),
)
SEED = "seed"


def told_apart(subjects: Sequence[Subject], about: Sequence[Mapping[str, Any]]) -> list[Subject]:
    """Order sliders by dataset, and name each by what differs among those of one edit.

    Args:
        subjects: labelled by their method.
        about: the metadata of each file.
    """
    known = [_settings(s, metadata) for s, metadata in zip(subjects, about, strict=True)]
    among: dict[str, list[Mapping[str, Any]]] = {}
    for subject, own in zip(subjects, known, strict=True):
        among.setdefault(subject.dataset, []).append(own)
    deciding_of = {dataset: deciding(several) for dataset, several in among.items()}
    every = swept(known)
    named = []
    for subject, own in zip(subjects, known, strict=True):
        keys = deciding_of[subject.dataset]
        family = _label(subject, own, [key for key in keys if key != SEED])
        seeded = f" seed={own.get(SEED)}" if SEED in keys else ""
        named.append(
            replace(
                subject,
                label=family + seeded,
                family=family,
                method=subject.label,
                seed=own.get(SEED),
                swept={key: str(own.get(key, "")) for key in every},
            )
        )
    return _ordered(_unique(named))


def swept(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the keys that differ, without the seed and those whose value the method decides."""
    return [
        key
        for key in _differing(known)
        if key not in ("method", SEED) and not _follows(known, key, ["method"])
    ]


def deciding(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """List as few keys as tell trainings apart: the method first, the seed last."""
    found: list[str] = []
    for key in _differing(known):
        if not _follows(known, key, found):
            found.append(key)
    return found


def uneven(trained: Iterable[tuple[str, int]]) -> str | None:
    """Say that methods differ in their steps, where nobody has asked for that.

    Args:
        trained: method and steps of each training.
    """
    steps: dict[str, set[int]] = {}
    for method, count in trained:
        steps.setdefault(method, set()).add(count)
    each = {method: next(iter(counts)) for method, counts in steps.items() if len(counts) == 1}
    if len(each) < len(steps) or len(set(each.values())) < 2:
        return None
    told = ", ".join(f"{method} {count}" for method, count in each.items())
    return f"the methods are not trained equally long, in steps: {told}; steps=N gives all the same"


def _differing(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the keys whose values are not the same in all trainings."""
    keys = dict.fromkeys(key for settings in known for key in settings)
    varied = [key for key in keys if len({str(s.get(key)) for s in known}) > 1]
    return sorted(varied, key=lambda key: (key == SEED, key != "method"))


def _follows(known: Sequence[Mapping[str, Any]], key: str, others: Sequence[str]) -> bool:
    """Say whether the values of some keys decide that of another key."""
    values: dict[tuple[str, ...], set[str]] = {}
    for settings in known:
        place = tuple(str(settings.get(other)) for other in others)
        values.setdefault(place, set()).add(str(settings.get(key)))
    return all(len(seen) == 1 for seen in values.values())


def _settings(subject: Subject, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training was told, flat; the method by its name."""
    config = metadata.get("config")
    if not isinstance(config, Mapping):
        return {}
    known = {key: v for key, v in flat(config).items() if not key.startswith(LEFT_OUT)}
    parts = {f"method.{k.removeprefix('method.')}": known.pop(k) for k in list(known)
             if k.startswith("method.")}  # fmt: skip
    return {"method": subject.label, **known, **parts}


def _label(subject: Subject, own: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Write the method, then what else differs; a key by its last part if no other has it."""
    ends = Counter(key.rsplit(".", 1)[-1] for key in keys)
    words = [subject.label]
    for key in keys:
        end = key.rsplit(".", 1)[-1]
        if key != "method":
            words.append(f"{end if ends[end] == 1 else key}={own.get(key)}")
    return " ".join(words)


def _unique(subjects: Sequence[Subject]) -> list[Subject]:
    """Name sliders by their folder or file if their settings are the same."""
    uses = Counter((s.dataset, s.label) for s in subjects)
    jobs = Counter((s.dataset, s.path.resolve().parents[1].name) for s in subjects)
    named = []
    for s in subjects:
        if uses[s.dataset, s.label] > 1:
            job = s.path.resolve().parents[1].name
            label = job if jobs[s.dataset, job] == 1 else f"{job}/{s.path.stem}"
            s = replace(s, label=label, family=label)
        named.append(s)
    return named


def _ordered(subjects: Sequence[Subject]) -> list[Subject]:
    """Put the sliders of one edit together."""
    order = list(dict.fromkeys(s.dataset for s in subjects))
    return sorted(subjects, key=lambda s: order.index(s.dataset))

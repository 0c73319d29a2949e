"""Own what is asked of a training on the page: pairs, a method, numbers. No Gradio is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pairedit.files import CONF
from pairedit.pictures.pairs import draw_pairs
from pairedit.plan.options import composed
from pairedit.plan.train import TrainPlan, plan_train
from pairedit.runs.words import quoted_path
from pairedit.studio import markup
from pairedit.studio.studio import Studio
from pairedit.studio.uploads import Dropped, Heard

OWN = "my own pictures"
METHODS = {
    "graded: keeps the rest": "graded",
    "full: as published": "full",
    "fm: published, usual noise": "fm",
    "sliders: Concept Sliders": "sliders",
}
EVERY = 25  # steps between rows of pictures
NUMBERS = ("steps", "seed", "lora.rank", "learning_rate")
# Of the same: name on the page, label, where the usual value comes from, what it is. Fields of
# text, since Gradio's for numbers turn an empty one into 0.
FIELDS = (
    ("train-steps", "Steps", "by the method", int),
    ("train-seed", "Seed", "0", int),
    ("train-rank", "Rank", "by the model", int),
    ("train-rate", "Learning rate", "by the model", float),
)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Hold what is to be learnt from."""

    words: tuple[str, ...]
    parts: Mapping[str, str]
    keys: Mapping[str, Any]
    dropped: Dropped | None = None


def shipped() -> list[str]:
    """List the edits that ship as pairs."""
    found = []
    for path in sorted((CONF / "dataset").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        folder = str(content.get("folder", ""))
        if folder.startswith("pkg://") and str(content["_target_"]).endswith(".Dataset"):
            found.append(path.stem)
    return found


def chosen_of(studio: Studio, choice: str, befores: Any, afters: Any) -> Chosen:
    """Say what is learnt from: a shipped edit, or pictures that were dropped."""
    if choice in shipped():
        return Chosen(words=(f"dataset={choice}",), parts={"dataset": choice}, keys={})
    dropped = studio.pairs(befores or (), afters or ())
    return Chosen(
        words=("dataset=folder", f"pairs={quoted_path(dropped.folder)}"),
        parts={"dataset": "folder"},
        keys={"pairs": str(dropped.folder)},
        dropped=dropped,
    )


def plan_of(studio: Studio, chosen: Chosen, method: str, numbers: Sequence[Any]) -> TrainPlan:
    """Check a training as pairedit-train would; ValueError says what is wrong."""
    name = METHODS[method]
    parts = {**studio.plan.parts, **chosen.parts, "method": name}
    keys = {**studio.plan.keys, **chosen.keys, **given_of(numbers)}
    with studio.planning:
        try:
            return plan_train(composed("train", parts, keys), method_name=name)
        except ValueError as error:
            worded = chosen.dropped.worded if chosen.dropped else str
            raise ValueError(worded(str(error))) from error


def given_of(numbers: Sequence[str | None]) -> dict[str, int | float]:
    """Read the numbers that were filled in, by their keys.

    Raises:
        ValueError: names the field that holds no number.
    """
    found: dict[str, int | float] = {}
    for key, text, (_, label, _, kind) in zip(NUMBERS, numbers, FIELDS, strict=True):
        if text and text.strip():
            try:
                found[key] = kind(text)
            except ValueError as error:
                whole = "a whole number" if kind is int else "a number"
                raise ValueError(f"{label}: {text.strip()!r} is not {whole}") from error
    return found


def judge(studio: Studio, chosen: Chosen) -> tuple[str, Any]:
    """Say in words what is wrong with pairs, and draw what the model sees of them."""
    worded = chosen.dropped.worded if chosen.dropped else str
    with Heard() as heard:
        plan = plan_of(studio, chosen, next(iter(METHODS)), [""] * len(NUMBERS))
    (name, pairs), *_ = plan.pairs.items()
    title = "your pairs" if chosen.dropped else name
    lines = [f"{title}: {len(pairs)} pair{'s' * (len(pairs) > 1)}."]
    if chosen.dropped and chosen.dropped.by_order:
        lines.append("No two names are equal, so the pictures were matched in their order.")
    lines += [f"Look at this: {worded(text)}" for text in heard.lines]
    lines += [] if heard.lines else ["The two sides fit each other."]
    return markup.words("\n".join(lines)), draw_pairs(pairs, plan.training.size, title=title)


def words_of(studio: Studio, chosen: Chosen, method: str, numbers: Sequence[Any]) -> list[str]:
    """Write the words of pairedit-train."""
    name = METHODS[method]
    given = [f"{key}={value}" for key, value in given_of(numbers).items()]
    usual = [] if name == "graded" else [f"method={name}"]
    return [*studio.plan.words, *usual, *chosen.words, *given, f"preview_every={EVERY}"]

"""Own the datasets: what a training learns from, and where it lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from pairedit.data.examples import Contrast, Example, Pair, Single, find_pairs, pick_images
from pairedit.files import locate
from pairedit.mini.attributes import check_attribute
from pairedit.problems import check


@runtime_checkable
class Examples(Protocol):
    """Name what is learnt from."""

    holds: ClassVar[type]  # Pair, Single or Contrast

    def read(self) -> Mapping[str, Sequence[Example]]:
        """List the examples of each training by its name; ValueError says what is wrong.

        `Invalid` says it of fields.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Name a folder of before/after pairs."""

    holds: ClassVar[type] = Pair
    folder: str  # holds both sides; pkg://<folder> for pairs shipped with pairedit
    name: str | None = None  # by default the folder's own
    source: str = "source"  # the folder of the images before the edit
    target: str = "target"  # and after it
    attribute: str | None = None  # what the pairs change, where a probe can read it

    @property
    def label(self) -> str:
        """Return the name, or the folder's own."""
        return self.name or locate(self.folder).resolve().name

    def read(self) -> dict[str, list[Pair]]:
        """Match the images of both sides."""
        check_attribute(self.attribute)
        return {self.label: find_pairs(locate(self.folder), self.source, self.target)}


@dataclass(frozen=True, kw_only=True)
class TextDataset:
    """Name the prompts of a text slider."""

    holds: ClassVar[type] = Contrast
    name: str
    target: str  # what the slider acts on
    positive: str | None  # where it leads to
    negative: str | None  # where it comes from
    preserve: list[str] = field(default_factory=list)  # words that must not change along
    attribute: str | None = None  # what the prompts change, where a probe can read it

    def read(self) -> dict[str, list[Contrast]]:
        """List the prompts, once for each attribute to preserve, which both ends then share.

        Source: Concept Sliders (arXiv 2311.12092), disentanglement by preserved concepts.
        """
        check_attribute(self.attribute)
        check(
            self,
            positive=(bool(self.positive), "a prompt that the slider leads to"),
            negative=(
                bool(self.negative) and self.negative != self.positive,
                "a prompt that the slider comes from, another than positive",
            ),
        )
        ends = (self.target, self.positive, self.negative)
        sets = [tuple(f"{end}, {word}" for end in ends) for word in self.preserve] or [ends]
        return {self.name: [Contrast(target=t, positive=p, negative=n) for t, p, n in sets]}


@dataclass(frozen=True, kw_only=True)
class Images:
    """Name a folder of single images, each of them to be learnt on its own."""

    holds: ClassVar[type] = Single
    folder: str  # pkg://<folder> for what ships with pairedit
    image_ids: Any = None  # file stems; None for all

    def read(self) -> dict[str, list[Single]]:
        """Find the images, each to be learnt under its stem: a folder, so a/1 becomes a-1."""
        found = pick_images(locate(self.folder), self.image_ids)
        named = {stem.replace("/", "-"): [Single(path=path)] for stem, path in found.items()}
        if len(named) < len(found):
            raise ValueError(f"{self.folder}: two images would have one name, such as a/1 and a-1")
        return named

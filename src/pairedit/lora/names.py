"""Own what a base model must say about its module names; `bases/*/names` hold the answers.

A LoRA sits on linear modules as diffusers names them. Other programs name the matrices of the
original code, and one of those may be made of several modules here: q, k and v below each other
are one `qkv`. Files spell either name with dots or with underscores throughout.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property


@dataclass(frozen=True, kw_only=True)
class Part:
    """Name one matrix of the original code and the modules that it is made of."""

    name: str  # in the original's spelling, such as img_attn.qkv
    modules: tuple[str, ...]  # in row order
    rows: tuple[int, ...] = ()  # of each module where there are several, in widths of the model
    swapped: bool = False  # the halves of its rows change places, as scale and shift do

    def sizes(self, rows: int, width: int) -> list[int]:
        """Return how many of a matrix' rows belong to each module.

        Args:
            rows: of the matrix.
            width: of the model, in features.

        Raises:
            ValueError: another number of rows than the model has.
        """
        if len(self.modules) == 1:
            return [rows]
        sizes = [share * width for share in self.rows]
        if sum(sizes) != rows:
            names = ", ".join(self.modules)
            raise ValueError(f"{rows} rows of {names} do not fit width {width}")
        return sizes

    def split(self, rows: int) -> list[int]:
        """Return the same where the width is not known, as of a bias.

        Raises:
            ValueError: a number of rows that the modules cannot share.
        """
        return self.sizes(rows, rows // max(1, sum(self.rows)))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Name the blocks of one kind, such as transformer_blocks.0, .1 and so on."""

    name: str
    original: str  # of the same blocks in the original code
    modules: tuple[str, ...]  # every linear module of a block, in the model's own order
    parts: tuple[Part, ...]  # those of the original, together of all modules
    read: tuple[Part, ...] = ()  # further names for the same, which some files use


@dataclass(frozen=True, kw_only=True)
class Names:
    """Name the linear modules of a base model, here and in the original code."""

    family: str  # in messages, such as FLUX.1
    kinds: tuple[Kind, ...] = ()
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # patterns by set
    outside: tuple[Part, ...] = ()  # what is in no block, under whole names
    published: tuple[str, ...] = ()  # patterns of what the PairEdit code trains; none: no such code
    reads: str = "(?!)"  # pattern of the ends of modules that take a token as wide as the model
    # Header entries by which other programs know a LoRA's base model, by the model's name.
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def block(self) -> re.Pattern[str]:
        """Return the pattern of a block at the beginning of a module's name: kind, index."""
        # Without kinds a pattern that matches nothing.
        kinds = "|".join(re.escape(kind.name) for kind in self.kinds) or "(?!)"
        return re.compile(rf"({kinds})\.(\d+)\.")

    def modules(self, counts: Iterable[int]) -> list[str]:
        """List the linear modules of the blocks, given how many there are of each kind."""
        return [
            f"{kind.name}.{index}.{tail}"
            for kind, count in zip(self.kinds, counts, strict=True)
            for index in range(count)
            for tail in kind.modules
        ]

    def find(self, name: str) -> Part | None:
        """Find what a name stands for, be it ours or the original's, with dots or underscores.

        Returns:
            A part with whole names, of which its own is a module's where that was named; None for
            a name that the model does not know.
        """
        flat = name.replace(".", "_")
        if flat in self._outside:
            return self._outside[flat]
        match = self._flat_block.fullmatch(flat)
        if match is None:
            return None
        head, index, tail = match.groups()
        kind, part = self._tails.get((head, tail), (None, None))
        return part and _at(part, kind, head, index)

    def group(self, modules: Sequence[str]) -> dict[str, Part]:
        """Name the original's matrices that hold any of some modules.

        Returns:
            Parts by the original's whole name, whole names in them too, in the order met.

        Raises:
            ValueError: modules that the original does not know.
        """
        held, unknown = {}, []
        for module in modules:
            if (part := self._original(module)) is None:
                unknown.append(module)
            else:
                held[part.name] = part
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise ValueError(
                f"only modules that {self.family or 'the model'} names, "
                f"not {', '.join(unknown[:3])}{more}"
            )
        return held

    def _original(self, module: str) -> Part | None:
        """Return the original's matrix that holds a module."""
        if module in self._around:
            return self._around[module]
        if match := self.block.match(module):
            kind = next(kind for kind in self.kinds if kind.name == match[1])
            for part in kind.parts:
                if module[match.end() :] in part.modules:
                    return _at(part, kind, kind.original, match[2])
        return None

    @cached_property
    def _around(self) -> dict[str, Part]:
        """Return the parts outside blocks by the name of their module."""
        return {part.modules[0]: part for part in self.outside}

    @cached_property
    def _outside(self) -> dict[str, Part]:
        """Return what is in no block by its names, with underscores; ours win."""
        original = {part.name.replace(".", "_"): part for part in self.outside}
        ours = (Part(name=module, modules=(module,)) for module in self._around)
        return original | {part.name.replace(".", "_"): part for part in ours}

    @cached_property
    def _flat_block(self) -> re.Pattern[str]:
        """Return the pattern of a module in a block, its name spelt with underscores."""
        kinds = {name for kind in self.kinds for name in (kind.name, kind.original)}
        return re.compile(rf"({'|'.join(sorted(kinds)) or '(?!)'})_(\d+)_(\w+)")

    @cached_property
    def _tails(self) -> dict[tuple[str, str], tuple[Kind, Part]]:
        """Return the parts of blocks by kind and tail, spelt with underscores; ours win."""
        tails = {}
        for kind in self.kinds:
            own = tuple(Part(name=module, modules=(module,)) for module in kind.modules)
            for head, parts in ((kind.original, (*kind.read, *kind.parts)), (kind.name, own)):
                for part in parts:
                    tails[head, part.name.replace(".", "_")] = (kind, part)
        return tails


# Of a model that nothing is known of: files then name modules as the model does.
UNKNOWN = Names(family="")


def _at(part: Part, kind: Kind, head: str, index: str) -> Part:
    """Write a block's part with whole names; `head` is the one that its kind has there."""
    return replace(
        part,
        name=f"{head}.{index}.{part.name}",
        modules=tuple(f"{kind.name}.{index}.{module}" for module in part.modules),
    )

"""Own how problems are said: the rules of an object, and the one list that says all at once."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SAME: Mapping[str, str] = {}
ITEM = "\n  - "  # between the problems of a list


def nearest(typed: str, known: Iterable[str]) -> str | None:
    """Return the known word that a mistyped one was probably meant to be."""
    words = {word.lower(): word for word in known}
    close = difflib.get_close_matches(typed.lower(), list(words), n=1, cutoff=0.7)
    return words[close[0]] if close else None


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """Write the end of a message that proposes the nearest known word; empty where none is near."""
    found = nearest(typed, known)
    return "" if found is None else f"; did you mean {found}?"


class Invalid(ValueError):
    """Say which fields of an object have bad values, whatever keys they come from."""

    def __init__(self, wrong: Mapping[str, str]) -> None:
        """Take `value: expected ...` by field."""
        self.wrong = dict(wrong)
        super().__init__("; ".join(self.lines()))

    def lines(self, names: Mapping[str, str] = SAME) -> list[str]:
        """Write one line for each field, under the name of the key that it comes from."""
        return [f"{names.get(field, field)}={text}" for field, text in self.wrong.items()]


def check(owner: object, **rules: tuple[bool, str]) -> None:
    """Check the fields of an object by its own rules.

    Args:
        owner: holds the fields.
        rules: by field, whether its value is fine, and what is expected.

    Raises:
        Invalid: names every field whose rule is broken.
    """
    values = {field: getattr(owner, field) for field in rules}
    wrong = {
        field: f"{'null' if values[field] is None else values[field]}: expected {expected}"
        for field, (fine, expected) in rules.items()
        if not fine
    }
    if wrong:
        raise Invalid(wrong)


@contextmanager
def keyed(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors about an object inside name the keys that its fields come from."""
    try:
        yield
    except Invalid as error:
        raise ValueError("; ".join(error.lines(names))) from error


@contextmanager
def given_by(key: str, path: Path) -> Iterator[None]:
    """Let errors about a file inside name the key that it was given by."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(f"{path}: "):
            raise
        raise ValueError(f"{key}={error}") from error


class Problems(list[str]):
    """Collect what is wrong, to say it all at once."""

    def expect(self, fine: bool, problem: str) -> None:
        """Note a problem unless all is fine."""
        if not fine:
            self.append(problem)

    def attempt(self, call: Callable[[], Any], names: Mapping[str, str] = SAME) -> Any:
        """Return the call's result, or None with what its ValueError says noted.

        Args:
            call: makes or reads something.
            names: the keys that fields of the object come from, where they differ.
        """
        try:
            return call()
        except Invalid as error:
            self.extend(error.lines(names))
        except ValueError as error:
            self.append(str(error))
        return None

    def done(
        self, *, where: str = "", of: str = "the configuration", more: Sequence[str] = ()
    ) -> None:
        """Raise ValueError if there is any problem; see `text`."""
        if self:
            raise ValueError(self.text(where=where, of=of, more=more))

    def text(self, *, where: str = "", of: str, more: Sequence[str] = ()) -> str:
        """Write a single problem as a line, several as a list.

        Args:
            where: begins the message, such as a file.
            of: what the problems are with.
            more: further lines of the list, which are no problems.
        """
        before = f"{where}: " if where else ""
        if len(self) == 1 and not more:
            return before + self[0]
        count = f"{len(self)} problem{'s' * (len(self) > 1)} with {of}"
        return f"{before}{count}:" + "".join(f"{ITEM}{line}" for line in [*self, *more])


class Held(logging.Handler):
    """Hold back what a logger says, until nothing is wrong: an error stands alone.

    Where the block is left by an exception, what was held is dropped.
    """

    def __init__(self, name: str) -> None:
        """Take the name of the logger."""
        super().__init__()
        self._logger = logging.getLogger(name)
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self._records.append(record)

    def __enter__(self) -> None:
        """Begin to hold."""
        self._before = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Say it now, or drop it."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._before
        for record in self._records if kind is None else ():
            self._logger.handle(record)

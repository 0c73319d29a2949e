"""Own how the words of a command line are written: values for Hydra, lines for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BARE = r"[\w/.+-]+"  # Hydra takes these letters without quotes
# What a shell leaves alone. Brackets are patterns there: zsh refuses those that match no file.
SAFE = r"[\w@%+=:,./-]+"


def key_of(word: str) -> str:
    """Return what an override sets."""
    return word.lstrip("+~").split("=", 1)[0]


def typed(value: Any) -> str:
    """Write a value as it is typed, without quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def quoted(value: Any) -> str:
    """Write a value so that Hydra reads it back: numbers and truths bare, all else as text."""
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    # An interpolation that is none, for OmegaConf; then quotes, and backslashes in front of one.
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(value))
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", text) + "'"


def listed(values: Iterable[Any]) -> str:
    """Write a list as Hydra reads it."""
    return f"[{','.join(map(quoted, values))}]"


def quoted_path(path: Path) -> str:
    """Write an absolute path as a value for Hydra."""
    text = str(path.resolve())
    return text if re.fullmatch(BARE, text, flags=re.ASCII) else double_quoted(text)


def double_quoted(text: str) -> str:
    """Write text in double quotes, which a shell's single quotes hold without escapes."""
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)\Z", r"\1\1", text) + '"'


def pasteable(path: Path) -> str:
    """Write an absolute path so that Hydra takes it as a value, within shell quotes if need be."""
    return shell(quoted_path(path))


def shell(word: str) -> str:
    """Write one word for a shell."""
    return word if re.fullmatch(SAFE, word, flags=re.ASCII) else shlex.quote(word)


def as_one_text(key: str, texts: Iterable[Any]) -> str:
    """Write the word, for a shell, of one text that its commas have made a list of."""
    return shell(f"{key}={double_quoted(', '.join(map(str, texts)))}")


def line(program: str, words: Iterable[str]) -> str:
    """Write a whole command for a shell."""
    return " ".join([program, *map(shell, words)])

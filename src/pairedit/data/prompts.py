"""Own how prompts are read from a file."""

from __future__ import annotations

from pathlib import Path

from pairedit.data.images import _reason


def read_prompts(path: Path) -> list[str]:
    """Read prompts from a text file: one a line, lines that start with '#' are comments.

    Args:
        path: UTF-8 text.

    Returns:
        The prompts in file order; at least one.

    Raises:
        ValueError: names the file when it cannot be read, is not UTF-8 or holds no prompt.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at {error.start})") from error
    lines = [line.strip() for line in text.splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise ValueError(f"{path}: no prompt in it; write one a line, '#' starts a comment")
    return prompts

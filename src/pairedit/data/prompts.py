"""Own how prompts are read from a file: one a line, or a YAML list of them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from pairedit.data.images import _reason
from pairedit.files import yaml_reason

YAML = (".yaml", ".yml")


def read_prompts(path: Path) -> list[str]:
    r"""Read prompts from a text file or from a YAML list.

    Args:
        path: UTF-8 text. One prompt a line; lines that start with '#' are comments, '\#' begins a
            prompt with that sign. Where every line starts with '- ', or the file is called .yaml,
            it is read as YAML, by YAML's own rules.

    Returns:
        The prompts in file order; at least one.

    Raises:
        ValueError: names the file when it cannot be read, is not UTF-8, holds keys or no prompt.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: {_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at {error.start})") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    prompts = [re.sub(r"^\\#", "#", line) for line in lines]
    listed = all(re.match(r"-(\s|$)", line) for line in lines)
    if lines and (listed or Path(path).suffix.lower() in YAML):
        read = _read_list(path, text)
        prompts = prompts if read is None else read
    if not prompts:
        raise ValueError(f"{path}: no prompt in it; write one a line, '#' starts a comment")
    return prompts


def _read_list(path: Path, text: str) -> list[str] | None:
    """Read a YAML list of prompts; None where the text is no list but plain lines.

    Raises:
        ValueError: names what is no prompt.
    """
    try:
        # Every scalar is text to this loader: 1, no and null are words of a prompt.
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a YAML list of prompts ({yaml_reason(error)})") from error
    if isinstance(content, str):
        return None
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a YAML list of prompts, '- a prompt' on each line")
    for entry in content:
        if not isinstance(entry, str):
            shown = yaml.safe_dump(entry, default_flow_style=True, allow_unicode=True).strip()
            raise ValueError(f"{path}: {shown} is no prompt; put one with a colon in quotes")
    return [" ".join(entry.split()) for entry in content if entry.strip()]

"""Parse each file of a configuration once in a process: a sixth of a composition is parsing."""

from __future__ import annotations

import os
from typing import Any

import yaml


def parse_once() -> None:
    """Remember what OmegaConf has parsed, which copies what it is given, as long as files stay."""
    parse, known = yaml.load, {}

    def load(stream: Any, Loader: type) -> Any:
        try:
            file = os.fstat(stream.fileno())
        except (AttributeError, OSError):  # a text
            return parse(stream, Loader)
        if Loader.__name__ != "OmegaConfLoader":
            return parse(stream, Loader)
        key = (file.st_dev, file.st_ino, file.st_mtime_ns, file.st_size)
        if key not in known:
            known[key] = parse(stream, Loader)
        return known[key]

    yaml.load = load

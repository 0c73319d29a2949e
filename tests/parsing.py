"""Read and compose each configuration once in a process: they are most of a tiny command's time."""

from __future__ import annotations

import copy
import os
import pickle
from functools import wraps
from typing import Any

import yaml
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from pairedit.files import CONF

# What `defaults_list` notes of the command line's groups while it follows them.
NOTED = ("known_choices", "known_choices_per_group", "override_metadata", "deletions")
ASKED = ("override_choices", "append_group_defaults", "deletions")


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


def compose_once() -> None:
    """Remember which files Hydra chooses for which options, and what they are together.

    What is set on top of them is set as ever. Only for files that are shipped: a user's may change.
    """
    choose = defaults_list._create_defaults_list
    compose = ConfigLoaderImpl._compose_config_from_defaults_list
    chosen: dict[Any, Any] = {}
    composed: dict[Any, bytes] = {}

    @wraps(choose)
    def choose_once(repo, config_name, overrides, prepend_hydra, skip_missing):
        asked = [repr(getattr(overrides, name)) for name in ASKED]
        key = (_places(repo), config_name, prepend_hydra, skip_missing, *asked)
        if not key[0]:
            return choose(repo, config_name, overrides, prepend_hydra, skip_missing)
        if key not in chosen:
            found = choose(repo, config_name, overrides, prepend_hydra, skip_missing)
            chosen[key] = found, copy.deepcopy({n: getattr(overrides, n) for n in NOTED})
        found, noted = chosen[key]
        for name, value in copy.deepcopy(noted).items():
            setattr(overrides, name, value)
        return found

    @wraps(compose)
    def compose_and_keep(loader, defaults, repo):
        key = (_places(repo), repr(defaults))
        if not key[0]:
            return compose(loader, defaults, repo)
        if key not in composed:
            composed[key] = pickle.dumps(compose(loader, defaults, repo))
        return pickle.loads(composed[key])  # a sixth of the time of a deep copy

    defaults_list._create_defaults_list = choose_once
    ConfigLoaderImpl._compose_config_from_defaults_list = compose_and_keep


def _places(repo: Any) -> tuple[str, ...]:
    """Return where Hydra looks for files; nothing if one of these places is not shipped."""
    places = tuple(source.full_path() for source in repo.get_sources())
    shipped = ("pkg://", "structured://", f"file://{CONF}")
    return places if all(place.startswith(shipped) for place in places) else ()

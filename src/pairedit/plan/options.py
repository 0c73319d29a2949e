"""Own configurations that are composed without a command line: options by name, or as objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pairedit.files import CONF
from pairedit.plan.build import written
from pairedit.plan.keys import register
from pairedit.plan.wording import describe_composition

# Groups of which several options may be chosen, and the key that holds them by name.
SEVERAL = {"dataset": "datasets", "reader": "readers"}
CHOSEN = str | list | tuple  # how options are chosen by name


@contextmanager
def searching(own: Sequence[Path]) -> Iterator[None]:
    """Compose from `conf/` and from a user's own options, whatever Hydra is at work already."""
    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    setbase("1.3")
    search = create_config_search_path(str(CONF))
    for folder in own:
        search.prepend("command-line", f"file://{folder.absolute()}", anchor="schema")
    Hydra.create_main_hydra2(task_name="pairedit", config_search_path=search)
    try:
        yield
    finally:
        state.hydra = before


def composed(
    command: str,
    parts: Mapping[str, Any],
    keys: Mapping[str, Any],
    config_dir: Path | None = None,
) -> DictConfig:
    """Compose the configuration of a command.

    Args:
        command: train, gen or eval.
        parts: by config group the name of an option, a list of such names, or an object, which
            is written down as the config that makes it; of `SEVERAL`, objects by name as well.
        keys: values by key, set on top; lists and plain values.
        config_dir: a folder with further options.

    Raises:
        ValueError: says in one line what is not there, or of a wrong type.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ValueError(f"config_dir={config_dir}: no such folder")
    register()
    words = [
        f"{group}={part}" if isinstance(part, str) else f"{group}=[{','.join(part)}]"
        for group, part in parts.items()
        if isinstance(part, CHOSEN)
    ]
    objects = {group: part for group, part in parts.items() if not isinstance(part, CHOSEN)}
    try:
        with searching([] if config_dir is None else [config_dir]):
            config = compose(command, overrides=words)
        for group, part in objects.items():
            if key := SEVERAL.get(group):
                named = part if isinstance(part, Mapping) else {"own": part}
                config[key] = {name: written(one, f"{key}.{name}") for name, one in named.items()}
            else:
                config[group] = written(part, group)
        for key, value in keys.items():
            try:
                OmegaConf.update(config, key, value, merge=False)
            except OmegaConfBaseException as error:
                word = f"{key}={value}"
                raise ValueError(describe_composition(error, word, command)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(describe_composition(error, command=command)) from error
    return config

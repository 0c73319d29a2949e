"""Compose a command's configuration as Hydra does, without running it."""

from __future__ import annotations

from functools import cache

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pairedit.files import CONF
from pairedit.plan.composition import Compositions
from pairedit.plan.keys import register


def composed(name: str, *words: str, hydra: bool = False) -> DictConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        if hydra:
            return compose(name, overrides=list(words), return_hydra_config=True)
        return _compositions(name)(words)


@cache
def _compositions(name: str) -> Compositions:
    """Keep what was composed: Hydra takes a fifth of a second, and many tests ask for the same."""
    return Compositions(name, {path.name for path in CONF.iterdir() if path.is_dir()})

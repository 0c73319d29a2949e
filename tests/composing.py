"""Compose a command's configuration as Hydra does, without running it."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pairedit.files import CONF
from pairedit.plan.keys import register


def composed(name: str, *words: str, hydra: bool = False) -> DictConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(words), return_hydra_config=hydra)

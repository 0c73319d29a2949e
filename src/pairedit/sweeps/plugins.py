"""Own Hydra's plugins for the engines that jobs run on: what they are called, whether they work."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

PLUGINS = {  # module of the launcher, its class, and the extra that brings it
    "joblib": ("hydra_joblib_launcher.joblib_launcher", "JoblibLauncher", "joblib"),
    "ray": ("hydra_ray_launcher.ray_launcher", "RayLauncher", "ray"),
    "slurm": ("hydra_submitit_launcher.submitit_launcher", "SlurmLauncher", "slurm"),
    "local": ("hydra_submitit_launcher.submitit_launcher", "LocalLauncher", "slurm"),
}


def plugin_class(engine: str) -> Any:
    """Find Hydra's launcher for an engine.

    Raises:
        ValueError: it is not installed; says how to.
    """
    module, name, extra = PLUGINS[engine]
    try:
        importlib.import_module({"joblib": "joblib", "ray": "ray"}.get(engine, "submitit"))
        return getattr(importlib.import_module(f"hydra_plugins.{module}"), name)
    except ImportError as error:
        asked = "submitit" if extra == "slurm" else extra
        raise ValueError(
            f"hydra/launcher={asked}: not installed ({error.name}); pip install 'pairedit[{extra}]'"
        ) from error


def check_engine(engine: str, keys: Mapping[str, Any]) -> None:
    """Refuse numbers that nothing can be counted by, and an engine that is not installed.

    Args:
        engine: of hydra.launcher.
        keys: beside it.

    Raises:
        ValueError: names the key and what it takes, or says how to install the engine.
    """
    for key in ("tries", "n_jobs"):
        value = keys.get(key)
        number = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not number and (key == "tries" or value is not None):
            usual = "" if key == "tries" else ", or null for as many as fit"
            raise ValueError(f"hydra.launcher.{key}={value}: expected a number from 1 on{usual}")
    executor = keys.get("executor", engine)
    if engine == "submitit" and executor not in ("slurm", "local"):
        raise ValueError(f"hydra.launcher.executor={executor}: expected slurm or local")
    if executor in PLUGINS:
        plugin_class(executor)

"""Own the configurations of a sweep's jobs: each is composed once, before any of them starts.

A job may wait in a queue for hours. It must not see what somebody changes in a file meanwhile.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Hold one job of a sweep before it runs."""

    number: int  # in the whole sweep, from 0 on
    overrides: Sequence[str]
    folder: Path


class Composed:
    """Stand in for Hydra's loader of configurations: return what was composed before.

    Pickled, it holds a folder of theirs alone, which every process of the sweep can read.
    """

    def __init__(self, loader: Any) -> None:
        """Take Hydra's own loader, which does what is left."""
        self._loader = loader
        self._known: dict[tuple[str, ...], bytes] = {}
        self._shelf: Path | None = None

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: Sequence[str]
    ) -> DictConfig:
        """Return the configuration of one job; see Hydra's `ConfigLoader`."""
        key = tuple(sweep_overrides)
        if self._loader is None and self._shelf:
            return pickle.loads(self._place(key).read_bytes())
        if key not in self._known:
            config = self._loader.load_sweep_config(master_config, list(sweep_overrides))
            self._known[key] = pickle.dumps(config)
        return pickle.loads(self._known[key])

    def settle(self, job: Planned, *, quiet: bool = False) -> None:
        """Fix the folder of a job, which is not to be found anew wherever the job runs.

        Args:
            job: composed before.
            quiet: it logs to its file alone: several at once would talk across each other.
        """
        key = tuple(job.overrides)
        config = pickle.loads(self._known[key])
        with open_dict(config):
            config.hydra.sweep.dir = str(job.folder.parent)
            config.hydra.sweep.subdir = job.folder.name
            if quiet and "file" in config.hydra.job_logging.handlers:
                config.hydra.job_logging.root.handlers = ["file"]
        self._known[key] = pickle.dumps(config)

    def lay_out(self, shelf: Path, jobs: Sequence[Planned]) -> None:
        """Write the configurations of jobs where other processes can read them."""
        shelf.mkdir(parents=True, exist_ok=True)
        self._shelf = shelf
        for job in jobs:
            key = tuple(job.overrides)
            self._place(key).write_bytes(self._known[key])

    def clear(self, shelf: Path) -> None:
        """Remove what `lay_out` wrote."""
        for path in shelf.glob("*.pickle"):
            path.unlink()
        if shelf.is_dir() and not any(shelf.iterdir()):
            shelf.rmdir()

    def _place(self, key: Sequence[str]) -> Path:
        name = hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]
        return self._shelf / f"{name}.pickle"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_loader" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"_shelf": self._shelf}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._loader, self._known = None, {}
        self._shelf = state["_shelf"]

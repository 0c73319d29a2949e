"""Own what one job of a sweep gets of a machine, by its model, if the user does not say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

SMALL = "flux-mini"  # its weights take 40 MB


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Hold what one job is given."""

    gpus: int = 1
    cpus: int = 4
    memory: int = 64  # GB; the weights of a large model pass through it
    minutes: int = 240  # a training of 500 steps on a slow card, its report included

    def for_slurm(self) -> dict[str, Any]:
        """Write it as submitit's keys."""
        return {
            "gpus_per_node": self.gpus or None,
            "cpus_per_task": self.cpus,
            "mem_gb": self.memory,
            "timeout_min": self.minutes,
        }


def needs_of(configs: Sequence[DictConfig]) -> Needs:
    """Say what is enough for every one of several jobs."""
    on_cpu = all(
        config.get("device") == "cpu" or (config.get("hardware") or {}).get("name") == "cpu"
        for config in configs
    )
    small = all((config.get("model") or {}).get("name") == SMALL for config in configs)
    gpus = 0 if on_cpu else 1
    if small:
        return Needs(gpus=gpus, cpus=1, memory=4, minutes=60)
    return Needs(gpus=gpus)

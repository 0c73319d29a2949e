"""Own what the jobs that run a model begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pairedit.bases.base import Model
from pairedit.bases.flux1.flux import PLAIN, Flux, load
from pairedit.files import locate
from pairedit.machine.devices import make_accelerator, memory_advice
from pairedit.machine.hardware import Hardware
from pairedit.plan.eval import EvalPlan
from pairedit.plan.gen import GenPlan
from pairedit.runs.folder import check_kind, locked


@contextmanager
def at_work(plan: GenPlan | EvalPlan, folder: Path) -> Iterator[None]:
    """Keep a folder to a job that renders, and say what to try where memory does not suffice."""
    alone = plan.changes.get("batch_size") == 1
    advice = "a smaller resolution" if alone else "a smaller batch_size"
    with locked(folder), memory_advice(advice, plan.hardware):
        check_kind(folder, plan.resolved)
        yield


def open_model(
    model: Model,
    *,
    device: str = "auto",
    hardware: Hardware = PLAIN,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Flux:
    """Load a base model; the next job of this process that asks for the same one gets it again."""
    chosen = make_accelerator("cpu" if hardware.name == "cpu" else device).device.type
    return load(
        str(folder) if (folder := locate(model.path)).is_dir() else model.path,
        device=chosen,
        precision="float32" if chosen == "cpu" else model.precision,
        max_sequence_length=model.max_sequence_length,
        hardware=hardware,
        changes=tuple(changes.items()),
    )

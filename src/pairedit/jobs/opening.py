"""Own what the jobs that run a model begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pairedit.bases.base import Base, Loadable
from pairedit.machine.devices import make_accelerator, memory_advice
from pairedit.machine.hardware import Hardware
from pairedit.plan.eval import EvalPlan
from pairedit.plan.gen import GenPlan
from pairedit.runs.folder import check_kind, locked

PLAIN = Hardware()


@contextmanager
def at_work(plan: GenPlan | EvalPlan, folder: Path) -> Iterator[None]:
    """Keep a folder to a job that renders, and say what to try where memory does not suffice."""
    alone = plan.changes.get("batch_size") == 1
    advice = "a smaller resolution" if alone else "a smaller batch_size"
    with locked(folder), memory_advice(advice, plan.hardware):
        check_kind(folder, plan.resolved)
        yield


def open_model(
    model: Loadable,
    *,
    device: str = "auto",
    hardware: Hardware = PLAIN,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Base:
    """Load a base model; the next job of this process that asks for the same one gets it again."""
    chosen = make_accelerator("cpu" if hardware.name == "cpu" else device).device.type
    return model.load(device=chosen, hardware=hardware, changes=changes)

"""Own what the jobs that run a model begin with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pairedit.bases.base import Base, Loadable
from pairedit.lora.file import LoraFile, read_lora
from pairedit.lora.targets import match_targets
from pairedit.machine.devices import make_accelerator, memory_advice, settle_threads
from pairedit.machine.hardware import Hardware
from pairedit.methods import SEMANTIC
from pairedit.plan.model import Plan
from pairedit.plan.roles import checkpoint_step
from pairedit.plan.train import TrainPlan
from pairedit.problems import keyed
from pairedit.runs.checkpoints import parse_checkpoint
from pairedit.runs.folder import check_kind
from pairedit.runs.lock import locked

PLAIN = Hardware()


@contextmanager
def at_work(plan: Plan, folder: Path) -> Iterator[None]:
    """Keep a folder to a job that renders, and say what to try where memory does not suffice."""
    alone = plan.changes.get("batch_size") == 1
    advice = "a smaller resolution" if alone else "a smaller batch_size"
    with locked(folder), memory_advice(advice, plan.hardware):
        check_kind(folder, plan.resolved)
        yield


def read_part(path: Path, model: Loadable, role: str = SEMANTIC) -> LoraFile:
    """Read a LoRA file; of a checkpoint, the LoRA of one role that was being trained.

    Raises:
        ValueError: see `read_lora`; or the checkpoint holds no such LoRA of this model.
    """
    if checkpoint_step(path) is None:
        return read_lora(path, model.names)
    content = path.read_bytes()
    state = parse_checkpoint(content)
    settings = state.notes["settings"]
    targets = settings["targets"]
    targets = targets if isinstance(targets, str) else tuple(targets)
    modules = match_targets(model.modules(), targets, model.names)
    parts = [value for key, value in state.tensors.items() if key.startswith(f"weights.{role}.")]
    if len(parts) != 2 * len(modules):
        raise ValueError(f"{path}: holds no {role} LoRA of this model")
    numbered = [state.tensors[f"weights.{role}.{index}"].float() for index in range(len(parts))]
    scaling = settings["alpha"] / settings["rank"]
    pairs = zip(numbered[::2], numbered[1::2], strict=True)
    weights = {
        module: (down, up * scaling) for module, (down, up) in zip(modules, pairs, strict=True)
    }
    digest = hashlib.sha256(content).hexdigest()
    about = {"role": role, "step": state.step}
    return LoraFile(path=path, weights=weights, metadata=about, sha256=digest)


def open_model(
    model: Loadable,
    *,
    device: str = "auto",
    hardware: Hardware = PLAIN,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Base:
    """Load a base model; the next job of this process that asks for the same one gets it again."""
    chosen = make_accelerator("cpu" if hardware.name == "cpu" else device).device.type
    if chosen == "cpu":
        settle_threads()
    with keyed({"path": "model.path"}):
        return model.load(device=chosen, hardware=hardware, changes=changes)


def open_for(plan: Plan) -> Base:
    """Load the base model of a plan; see `open_model`."""
    return open_model(plan.model, device=plan.device, hardware=plan.hardware, changes=plan.changes)


def look_over(plan: TrainPlan) -> None:
    """Read the LoRAs that a training starts from, then load its model, which is kept for it.

    Raises:
        ValueError: one of them cannot be read.
    """
    for files in plan.init.values():
        for role, path in files.items():
            read_part(path, plan.model, role)
    open_for(plan)

"""Own what a checkpoint holds of a training: its state, and what it belongs to."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pairedit.checkpoints import Checkpoint
from pairedit.data import Contrast, Example
from pairedit.methods import Method

if TYPE_CHECKING:
    from pairedit.train import Settings

log = logging.getLogger(__name__)


def capture(
    weights: Mapping[str, Sequence[Tensor]],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Gather all that the next step depends on.

    Args:
        weights: the LoRA parameters by role, as trained: alpha is not folded in.
        optimizer: over these parameters, in this order.
        generator: the one that everything random comes from.

    Returns:
        Tensors by name.
    """
    tensors = {"generator": generator.get_state()}
    for role, part in weights.items():
        tensors |= {f"weights.{role}.{index}": weight for index, weight in enumerate(part)}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(v) for key, v in state.items()}
    return {name: tensor.detach() for name, tensor in tensors.items()}


@torch.no_grad()
def restore(
    checkpoint: Checkpoint,
    weights: Mapping[str, Sequence[Tensor]],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Undo `capture`: put the state of a checkpoint back in place.

    Raises:
        ValueError: the checkpoint is of other LoRAs.
    """
    tensors = dict(checkpoint.tensors)
    generator.set_state(tensors.pop("generator"))
    for role, part in weights.items():
        for index, weight in enumerate(part):
            saved = tensors.pop(f"weights.{role}.{index}", None)
            if saved is None or saved.shape != weight.shape:
                raise ValueError(f"the checkpoint of step {checkpoint.step} is of other LoRAs")
            weight.copy_(saved)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        _, index, key = name.split(".")
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def describe_run(method: Method, examples: Sequence[Example], settings: Settings) -> dict[str, Any]:
    """Describe what a checkpoint belongs to, as JSON values."""
    named = repr(method) if is_dataclass(method) else type(method).__qualname__
    seen: dict[str, Any] = {}
    for number, example in enumerate(examples):
        if isinstance(example, Contrast):
            seen[f"prompts {number}"] = asdict(example)
        for path in example.images:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            seen[f"{path.parent.name}/{path.name}"] = digest
    about = {"method": named, "settings": asdict(settings), "examples": seen}
    return json.loads(json.dumps({**about, "torch": torch.__version__}))


def check_same(place: Path, notes: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another method, other settings or other images.

    Raises:
        ValueError: names what differs.
    """
    changed = []
    for part in ("settings", "examples"):
        there, now = notes.get(part, {}), about[part]
        keys = [key for key in there | now if there.get(key) != now.get(key)]
        if part == "settings":
            changed += [f"{key}={there.get(key)} there, {now.get(key)} now" for key in keys]
        else:
            changed += [f"{key} has changed" for key in keys]
    if notes.get("method") != about["method"]:
        changed.append(f"method {notes.get('method')} there, {about['method']} now")
    if changed:
        raise ValueError(f"{place}: the run was started differently: {'; '.join(changed)}")
    if notes.get("torch") != about["torch"]:
        log.warning(
            "%s: written with torch %s, this is %s: the last digits may differ",
            place,
            notes.get("torch"),
            about["torch"],
        )


def finite(weights: Mapping[str, Sequence[Tensor]]) -> bool:
    """Say whether no LoRA weight is NaN or infinite."""
    return all(bool(weight.isfinite().all()) for part in weights.values() for weight in part)

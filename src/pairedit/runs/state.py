"""Own the state of a training: all that its next step depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairedit.runs.checkpoints import Checkpoint


@dataclass(frozen=True, kw_only=True)
class State:
    """Hold what an update changes."""

    weights: Mapping[str, Sequence[Tensor]]  # by role, as trained: alpha is not folded in
    optimizer: torch.optim.Optimizer  # over these, in this order
    generator: torch.Generator  # the one that everything random comes from

    def capture(self) -> dict[str, Tensor]:
        """Return it as tensors by name, without a copy."""
        tensors = {"generator": self.generator.get_state()}
        for role, part in self.weights.items():
            tensors |= {f"weights.{role}.{index}": weight for index, weight in enumerate(part)}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(v) for key, v in state.items()}
        return {name: tensor.detach() for name, tensor in tensors.items()}

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Undo `capture`: put the state of a checkpoint back in place.

        Raises:
            ValueError: the checkpoint is of other LoRAs.
        """
        tensors = dict(checkpoint.tensors)
        self.generator.set_state(tensors.pop("generator"))
        for role, part in self.weights.items():
            for index, weight in enumerate(part):
                saved = tensors.pop(f"weights.{role}.{index}", None)
                if saved is None or saved.shape != weight.shape:
                    raise ValueError(f"the checkpoint of step {checkpoint.step} is of other LoRAs")
                weight.copy_(saved)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def finite(self) -> bool:
        """Say whether no LoRA weight is NaN or infinite."""
        weights = (weight for part in self.weights.values() for weight in part)
        return all(bool(weight.isfinite().all()) for weight in weights)

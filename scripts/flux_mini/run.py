"""What every stage shares: processes, clock, log, rendered data, checkpoints."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pairedit.mini.faces import render, sample_attributes

HELD_OUT_SEED = 10_000_000  # no training face comes from a seed this large


@dataclass(kw_only=True)
class Run:
    """One call of one stage on one of `world` processes."""

    work: Path
    seconds: float
    tiny: bool = False  # a few small batches, to try the script on a CPU
    compiled: bool = True  # compile on a GPU
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.cuda = torch.cuda.is_available()
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.cuda else "gloo")
        self.compiled &= self.cuda
        self.device = torch.device(f"cuda:{self.rank}" if self.cuda else "cpu")
        if self.cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.enable_cudnn_sdp(False)
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
            torch._dynamo.config.optimize_ddp = False  # one graph: the models are small
        torch.manual_seed(self.rank)

    @property
    def elapsed(self) -> float:
        """Seconds since this call began, of the first process, so that all agree."""
        now = torch.tensor(time.monotonic() - self.started, device=self.device)
        if self.world > 1:
            dist.broadcast(now, 0)
        return float(now)

    def log(self, line: str) -> None:
        """Print a line and append it to the log, once for all processes."""
        if self.rank == 0:
            print(line, flush=True)
            with (self.work / "log.txt").open("a") as file:
                file.write(line + "\n")

    def autocast(self) -> torch.autocast:
        """Return bf16 autocast on a GPU, nothing on a CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.cuda)

    def faces(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Render random faces; returns attributes [B, A] float32 and images [B, 3, H, W] uint8."""
        generator = torch.Generator().manual_seed(seed)
        attributes = sample_attributes(count, generator).float().to(self.device)
        images = [(render(part) * 255).round().byte() for part in attributes.split(256)]
        return attributes, torch.cat(images)

    def parallel(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its gradients are averaged over the processes."""
        if self.world == 1:
            return module
        ids = [self.rank] if self.cuda else None
        return nn.parallel.DistributedDataParallel(module, device_ids=ids)

    def rate(self, peak: float, elapsed: float, decay: float = 0.4) -> float:
        """Return the learning rate: 15 s warm-up, constant, linear to zero in the last part."""
        left = max(0.0, 1 - elapsed / self.seconds)
        return peak * min(1.0, elapsed / min(15.0, self.seconds / 10), left / decay)

    def load(self, name: str) -> dict | None:
        """Load a stage's checkpoint, or None at its first call."""
        path = self.work / f"{name}.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    def save(self, name: str, **state: dict) -> None:
        """Save a stage's checkpoint; readers never see half a file."""
        if self.rank == 0:
            torch.save(state, self.work / f"{name}.tmp")
            (self.work / f"{name}.tmp").replace(self.work / f"{name}.pt")


class Average:
    """An exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.seen = decay, 0
        self.module = module
        self.shadow = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the module; young averages move faster."""
        self.seen += 1
        decay = min(self.decay, (1 + self.seen) / (10 + self.seen))
        torch._foreach_lerp_(self.shadow, list(self.module.parameters()), 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """Return the averaged state dict."""
        names = [name for name, _ in self.module.named_parameters()]
        return {**self.module.state_dict(), **dict(zip(names, self.shadow, strict=True))}

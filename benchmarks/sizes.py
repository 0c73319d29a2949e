"""Own the models that are measured: FLUX.1-dev's sizes with random weights, in seconds.

Time and memory do not depend on the weights' values. So that tens of gigabytes need not be drawn
or held, blocks of one kind share the memory of one block on the CPU; moved to a GPU, each becomes
a copy of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from diffusers import FluxPipeline
from torch import nn

import measure
from pairedit.bases.base import Base
from pairedit.bases.flux1.flux import Flux
from pairedit.machine.hardware import Hardware
from pairedit.mini import untrained
from pairedit.mini.untrained import Sizes


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Hold how much is measured on a model, whatever its architecture."""

    resolution: int  # px
    dtype: torch.dtype = torch.bfloat16  # of transformer and text encoders
    distinct: bool = False  # weights of every block differ
    pool: int = 2**24  # random numbers that all weights are filled from
    warm_up: int = 4  # training steps
    timed: int = 24  # training steps
    whole: int = 500  # training steps of a whole run
    whole_default: int = 150  # of a whole run of the default method
    steps: int = 28  # of sampling
    skip: int = 10
    rows: int = 3  # timed rows of images
    matrix: int = 8192  # side of the matrices whose product is the ceiling
    prompt: str = ""  # rendered

    @property
    def image(self) -> tuple[int, int]:
        """Return the height and width of an image."""
        return self.resolution, self.resolution


@dataclass(frozen=True, kw_only=True)
class Size(Sizes, Amount):
    """Hold the sizes of one FLUX.1, and how much is measured on it."""

    def opened(self, device: torch.device, hardware: Hardware) -> Base:
        """Build the model."""
        return Flux(build(self), device=device, max_sequence_length=self.length, hardware=hardware)

    def forward(self) -> float:
        """Count the matrix products of one row of one forward pass."""
        return measure.forward_flops(measure.config(self), *measure.tokens(self))

    def training(self, rows: int) -> float:
        """Count one training step."""
        return measure.training_flops(measure.config(self), *measure.tokens(self), rows=rows)


FULL = Size(
    transformer={
        "in_channels": 64,
        "num_layers": 19,
        "num_single_layers": 38,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": True,
        "axes_dims_rope": (16, 56, 56),
    },
    vae={
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 16,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "sample_size": 1024,
    },
    clip={
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
    },
    t5={
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
    resolution=512,
    length=512,
)
# Few blocks of full width whose weights all differ, to compare results on.
SHALLOW = replace(
    FULL,
    transformer={**FULL.transformer, "num_layers": 3, "num_single_layers": 4},
    t5={**FULL.t5, "num_layers": 1},
    distinct=True,
)
TINY = Size(
    **vars(untrained.TINY),
    resolution=32,
    dtype=torch.float32,
    distinct=True,
    pool=2**16,
    warm_up=1,
    timed=3,
    whole=4,
    whole_default=4,
    steps=4,
    skip=2,
    rows=2,
    matrix=64,
)
SIZES = {"full": FULL, "tiny": TINY}


def build(size: Size) -> FluxPipeline:
    """Build the pipeline on the CPU, as `from_pretrained` would leave it; the VAE in float32."""
    with torch.device("meta"):
        parts = untrained.networks(size)
    for name, part in parts.items():
        dtype = torch.float32 if name == "vae" else size.dtype
        fill(part, dtype, distinct=size.distinct, pool=size.pool)
    return untrained.pipeline(size, parts)


def fill(model: nn.Module, dtype: torch.dtype, *, distinct: bool, pool: int) -> None:
    """Give the weights of a model on the meta device random values, always the same ones.

    Args:
        model: its biases become 0, its norms 1.
        dtype: of all weights.
        distinct: every block has its own; otherwise blocks of one kind share memory.
        pool: random numbers that are drawn; weights are parts of them.
    """
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(pool, generator=generator).to(dtype)
    pools: dict[int, torch.Tensor] = {}  # by the inputs of one output: 0.018 at full width
    shared: dict[tuple[str, torch.Size], torch.Tensor] = {}
    tied: dict[int, nn.Parameter] = {}
    for path, module in model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in tied:
                key = f"{path}.{name}"
                # The first number in a name counts blocks.
                key = key if distinct else re.sub(r"\.\d+\.", ".*.", key, count=1)
                if (key, weight.shape) not in shared:
                    if weight.ndim == 1:
                        value = torch.full(weight.shape, float("bias" not in name), dtype=dtype)
                    else:
                        inputs = weight[0].numel()
                        if inputs not in pools:
                            pools[inputs] = numbers * inputs**-0.5
                        start = int(torch.randint(pool, (), generator=generator))
                        value = _wrapped(pools[inputs], start, weight.shape)
                    shared[key, weight.shape] = value
                tied[id(weight)] = nn.Parameter(shared[key, weight.shape], requires_grad=False)
            setattr(module, name, tied[id(weight)])
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.device.type != "meta":
                continue
            if name != "position_ids":
                raise ValueError(f"{path}.{name}: a buffer of unknown content")
            setattr(module, name, torch.arange(buffer.shape[-1]).expand(buffer.shape))


def _wrapped(pool: torch.Tensor, start: int, shape: torch.Size) -> torch.Tensor:
    """Read numbers from `start` on, again from the beginning where the pool ends."""
    values = torch.empty(shape, dtype=pool.dtype)
    flat, done = values.view(-1), 0
    while done < len(flat):
        part = pool[start : start + len(flat) - done]
        flat[done : done + len(part)] = part
        done, start = done + len(part), 0
    return values

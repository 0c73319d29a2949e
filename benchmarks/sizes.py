"""Own the models that are measured: FLUX.1-dev's sizes with random weights, in seconds.

Time and memory do not depend on the weights' values. So that tens of gigabytes need not be drawn
or held, blocks of one kind share the memory of one block on the CPU; moved to a GPU, each becomes
a copy of its own.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

POOL = 2**24  # random numbers that all weights are filled from


@dataclass(frozen=True, kw_only=True)
class Size:
    """Hold the sizes of one model, and how much is measured on it."""

    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    clip: Mapping[str, Any]
    t5: Mapping[str, Any]
    resolution: int  # px
    length: int  # T5 tokens
    dtype: torch.dtype = torch.bfloat16  # of transformer and text encoders
    distinct: bool = False  # weights of every block differ
    warm_up: int = 4  # training steps
    timed: int = 24  # training steps
    whole: int = 500  # training steps of a whole run
    steps: int = 28  # of sampling
    skip: int = 10
    rows: int = 3  # timed rows of images
    matrix: int = 8192  # side of the matrices whose product is the ceiling


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
    clip={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    t5={"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
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
    transformer={
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "pooled_projection_dim": 16,
        "guidance_embeds": True,
        "axes_dims_rope": (4, 6, 6),
    },
    vae={
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
    },
    clip={
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    t5={"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    resolution=32,
    length=32,
    dtype=torch.float32,
    distinct=True,
    warm_up=1,
    timed=3,
    whole=4,
    steps=4,
    skip=2,
    rows=2,
    matrix=64,
)
SIZES = {"full": FULL, "tiny": TINY}


def build(size: Size) -> FluxPipeline:
    """Build the pipeline on the CPU, as `from_pretrained` would leave it; the VAE in float32."""
    letters = string.ascii_lowercase
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    clip_words = {word: index for index, word in enumerate(words)}
    t5_words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("▁", -2.0)]
    t5_words += [(letter, -3.0) for letter in letters]
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**size.transformer)
        vae = AutoencoderKL(
            **size.vae,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        clip = CLIPTextModel(
            CLIPTextConfig(
                **size.clip,
                vocab_size=49408,
                bos_token_id=clip_words["<|startoftext|>"],
                eos_token_id=clip_words["<|endoftext|>"],
                pad_token_id=clip_words["<|endoftext|>"],
            )
        )
        t5 = T5EncoderModel(T5Config(**size.t5, vocab_size=32128, feed_forward_proj="gated-gelu"))
    fill(vae, torch.float32, distinct=size.distinct)
    for part in (transformer, clip, t5):
        fill(part, size.dtype, distinct=size.distinct)
    return FluxPipeline(
        transformer=transformer,
        vae=vae,
        text_encoder=clip,
        text_encoder_2=t5,
        tokenizer=CLIPTokenizer(vocab=clip_words, merges=[], model_max_length=77),
        tokenizer_2=T5Tokenizer(vocab=t5_words, extra_ids=0, model_max_length=size.length),
        # FLUX.1-dev's.
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
    )


def fill(model: nn.Module, dtype: torch.dtype, *, distinct: bool) -> None:
    """Give the weights of a model on the meta device random values, always the same ones.

    Args:
        model: its biases become 0, its norms 1.
        dtype: of all weights.
        distinct: every block has its own; otherwise blocks of one kind share memory.
    """
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(POOL, generator=generator).to(dtype)
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
                            pools[inputs] = pool * inputs**-0.5
                        start = int(torch.randint(POOL, (), generator=generator))
                        value = _wrapped(pools[inputs], start, weight.shape)
                    shared[key, weight.shape] = value
                tied[id(weight)] = nn.Parameter(shared[key, weight.shape], requires_grad=False)
            setattr(module, name, tied[id(weight)])
        for name, buffer in module.named_buffers(recurse=False):
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

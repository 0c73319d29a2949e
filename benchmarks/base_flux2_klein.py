"""Own FLUX.2 klein as it is measured: its sizes with random weights. `--base flux2-klein`.

The text encoder has the layers that are read, and the transformer's blocks of a kind share memory.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from torch import nn
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3Model

from pairedit.bases.flux2.flux import READ, Flux2Base
from pairedit.machine.hardware import Hardware
from sizes import Amount, fill

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"


@dataclass(frozen=True, kw_only=True)
class KleinSize(Amount):
    """Hold the sizes of one FLUX.2 klein, and how much is measured on it."""

    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    qwen: Mapping[str, Any]
    length: int = 512
    prompt: str = "old"  # another one than the negative prompt, so that guidance takes two passes

    @property
    def width(self) -> int:
        """Return the features of a token."""
        return self.transformer["num_attention_heads"] * self.transformer["attention_head_dim"]

    @property
    def tokens(self) -> tuple[int, int]:
        """Return the image and text tokens of one row; a token covers 16 x 16 px."""
        return (self.resolution // 16) ** 2, self.length

    def opened(self, device: torch.device, hardware: Hardware) -> Flux2Base:
        """Build the model."""
        given = {"device": device, "max_sequence_length": self.length, "hardware": hardware}
        return Flux2Base(build(self), **given)

    def forward(self) -> float:
        """Count the matrix products of one row of one forward pass, 2 for a multiply-add.

        A block of either kind takes 13 D^2 for a token and 2 S^2 D of attention, in multiply-adds.
        """
        d, (image, text) = self.width, self.tokens
        ends = 2 * self.transformer["in_channels"] * image
        ends += self.transformer["joint_attention_dim"] * text
        modulations = (6 + 6 + 3 + 2 + 1) * d**2
        return 2.0 * (self._blocks() * self._block() + d * ends + modulations)

    def training(self, rows: int) -> float:
        """Count one training step; see `measure.training_flops`."""
        attention = 2 * sum(self.tokens) ** 2 * self.width
        return rows * (self.forward() + 2.0 * self._blocks() * (self._block() + attention))

    def _blocks(self) -> int:
        return self.transformer["num_layers"] + self.transformer["num_single_layers"]

    def _block(self) -> float:
        d, count = self.width, sum(self.tokens)
        return 13 * d**2 * count + 2 * count**2 * d


QWEN_4B = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
FULL = KleinSize(
    transformer={
        "patch_size": 1,
        "in_channels": 128,
        "num_layers": 5,
        "num_single_layers": 20,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 7680,
        "timestep_guidance_channels": 256,
        "axes_dims_rope": (32, 32, 32, 32),
        "guidance_embeds": False,
    },
    vae={},
    qwen=QWEN_4B,
    resolution=512,
)
TINY = KleinSize(
    transformer={
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 48,
        "timestep_guidance_channels": 32,
        "axes_dims_rope": (4, 4, 4, 4),
        "guidance_embeds": False,
    },
    vae={
        "block_out_channels": (8, 8, 8, 8),
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 32,
    },
    qwen={
        "vocab_size": 128,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    },
    length=24,
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


def build(size: KleinSize) -> Flux2KleinPipeline:
    """Build the pipeline on the CPU, as `load` would have it; the VAE in float32."""
    with torch.device("meta"):
        config = Qwen3Config(**size.qwen, num_hidden_layers=max(READ))
        parts = {
            "transformer": Flux2Transformer2DModel(**size.transformer),
            "vae": AutoencoderKLFlux2(
                **size.vae,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
            ),
            "text_encoder": Qwen3Model(config),
        }
    # What holds numbers that are computed, not learnt.
    parts["text_encoder"].norm = nn.Identity()
    parts["text_encoder"].rotary_emb = type(parts["text_encoder"].rotary_emb)(config)
    parts["vae"].bn = nn.BatchNorm2d(parts["vae"].bn.num_features, affine=False)
    for name, part in parts.items():
        dtype = torch.float32 if name == "vae" else size.dtype
        fill(part, dtype, distinct=size.distinct, pool=size.pool)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return Flux2KleinPipeline(**parts, tokenizer=tokenizer(), scheduler=scheduler)


def tokenizer() -> Qwen2TokenizerFast:
    """Return Qwen's tokenizer for single letters."""
    letters = [letter for letter in string.printable if letter.isprintable() and letter != " "]
    words = {word: index for index, word in enumerate([*SPECIAL, *letters, "Ġ", "Ċ"])}
    made = Qwen2TokenizerFast(
        vocab=words, merges=[], pad_token=SPECIAL[0], eos_token=SPECIAL[2], unk_token=SPECIAL[0]
    )
    made.chat_template = TEMPLATE
    return made

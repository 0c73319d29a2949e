"""FLUX.1 of any size before training: the parts of a standard pipeline, with random weights.

flux-mini was trained from it, the benchmarks measure it at full size, and tests run on it. Its
tokenizers only know single letters. Everything else has the layout of FLUX.1-dev.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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

LETTERS = string.ascii_lowercase
CLIP_WORDS = [*LETTERS, *(f"{a}</w>" for a in LETTERS), "<|startoftext|>", "<|endoftext|>"]
T5_WORDS = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("▁", -2.0)]
T5_WORDS += [(letter, -3.0) for letter in LETTERS]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Hold what the configuration of each part says of its size."""

    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    clip: Mapping[str, Any]
    t5: Mapping[str, Any]
    clip_length: int = 77  # tokens
    length: int  # T5 tokens


TINY = Sizes(
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
        "scaling_factor": 0.36,
        "shift_factor": 0.11,
        "sample_size": 32,
    },
    clip={
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    t5={"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
    clip_length=32,
    length=32,
)


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Return the scheduler with FLUX.1-dev's settings."""
    return FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def autoencoder(**sizes: Any) -> AutoencoderKL:
    """Return an autoencoder of FLUX's layout: 8x down, no convolution around the latents."""
    return AutoencoderKL(
        **sizes,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def networks(sizes: Sizes) -> dict[str, nn.Module]:
    """Build the four networks by their names in a pipeline; weights as torch draws them."""
    clip = {
        "vocab_size": len(CLIP_WORDS),
        "max_position_embeddings": sizes.clip_length,
        "bos_token_id": CLIP_WORDS.index("<|startoftext|>"),
        "eos_token_id": CLIP_WORDS.index("<|endoftext|>"),
        "pad_token_id": CLIP_WORDS.index("<|endoftext|>"),
    }
    t5 = {"vocab_size": len(T5_WORDS)}
    return {
        "transformer": FluxTransformer2DModel(**sizes.transformer),
        "vae": autoencoder(**sizes.vae),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**clip | dict(sizes.clip))),
        "text_encoder_2": T5EncoderModel(T5Config(**t5 | dict(sizes.t5))),
    }


def pipeline(sizes: Sizes, parts: Mapping[str, nn.Module]) -> FluxPipeline:
    """Put networks of these sizes together with scheduler and tokenizers."""
    words = {word: index for index, word in enumerate(CLIP_WORDS)}
    return FluxPipeline(
        **parts,
        tokenizer=CLIPTokenizer(vocab=words, merges=[], model_max_length=sizes.clip_length),
        tokenizer_2=T5Tokenizer(vocab=T5_WORDS, extra_ids=0, model_max_length=sizes.length),
        scheduler=scheduler(),
    )

"""Tiny things to test on: a random FLUX in a standard folder, its LoRAs, pairs and pictures.

Diffusers and peft are imported where they are used: a test of a plan does not wait for them.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from pairedit.bases.flux1.flux import Flux
    from pairedit.lora.file import LoraFile
    from pairedit.machine.hardware import Hardware

RESOLUTION = 32  # px: 2 x 2 tokens
QUICK = ["steps=2", "lora.rank=2"]  # words of a training that is over at once


def write_flux(folder: Path, *, guidance: bool = True) -> Path:
    """Save a random FLUX of 2 double and 2 single blocks as a diffusers FluxPipeline folder."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        T5Config,
        T5EncoderModel,
        T5Tokenizer,
    )

    torch.manual_seed(0)
    letters = string.ascii_lowercase
    clip_words = [*letters, *(f"{letter}</w>" for letter in letters)]
    clip_vocab = {
        word: index for index, word in enumerate([*clip_words, "<|startoftext|>", "<|endoftext|>"])
    }
    t5_vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("▁", -2.0)]
    t5_vocab += [(letter, -3.0) for letter in letters]
    pipeline = FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 6, 6),
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            use_quant_conv=False,
            use_post_quant_conv=False,
            scaling_factor=0.36,
            shift_factor=0.11,
            sample_size=RESOLUTION,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                vocab_size=len(clip_vocab),
                max_position_embeddings=32,
                bos_token_id=clip_vocab["<|startoftext|>"],
                eos_token_id=clip_vocab["<|endoftext|>"],
                pad_token_id=clip_vocab["<|endoftext|>"],
            )
        ),
        text_encoder_2=T5EncoderModel(
            T5Config(
                d_model=16,
                d_kv=8,
                d_ff=16,
                num_layers=1,
                num_heads=2,
                vocab_size=len(t5_vocab),
            )
        ),
        tokenizer=CLIPTokenizer(vocab=clip_vocab, merges=[], model_max_length=32),
        tokenizer_2=T5Tokenizer(vocab=t5_vocab, extra_ids=0, model_max_length=32),
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
    )
    pipeline.save_pretrained(folder)
    return folder


def open_flux(folder: Path, hardware: Hardware | None = None) -> Flux:
    """Open a model anew: a transformer that was placed for one hardware serves no other."""
    from pairedit.bases.flux1.flux import load
    from pairedit.machine.hardware import Hardware

    load.cache_clear()
    return load(
        str(folder),
        device="cpu",
        precision="float32",
        max_sequence_length=32,
        hardware=hardware or Hardware(),
    )


def strong_lora(flux, path, seed=0, rank=3) -> LoraFile:
    """Write a LoRA that visibly changes what the tiny model draws."""
    from pairedit.lora.adapters import Adapters
    from pairedit.lora.file import read_lora, write_lora

    adapters = Adapters(flux.transformer, names=flux.names)
    generator = torch.Generator().manual_seed(seed)
    adapters.add("x", rank=rank, alpha=rank, targets="attention", generator=generator)
    weights = {
        module: (down, torch.randn(up.shape, generator=generator))
        for module, (down, up) in adapters.weights("x").items()
    }
    adapters.remove()
    write_lora(path, weights, {"base_model": "tiny"})
    return read_lora(path)


def random_lora(flux, path, targets="attention", ranks=(3,), sigma=1.0) -> LoraFile:
    """Write a strong LoRA in our layout; its ranks take turns."""
    from pairedit.lora.adapters import find_modules
    from pairedit.lora.file import read_lora, write_lora

    generator = torch.Generator().manual_seed(4)
    linears = dict(flux.transformer.named_modules())
    weights = {}
    for index, module in enumerate(find_modules(flux.transformer, targets, flux.names)):
        rank, base = ranks[index % len(ranks)], linears[module]
        down = torch.randn(rank, base.in_features, generator=generator) / base.in_features**0.5
        up = torch.randn(base.out_features, rank, generator=generator) * sigma
        weights[module] = (down, up)
    write_lora(path, weights, {"dataset": "age", "base_model": "flux-mini"})
    return read_lora(path)


def assert_same_edit(left, right):
    assert set(left.weights) == set(right.weights)
    for module, (down, up) in left.weights.items():
        other_down, other_up = right.weights[module]
        torch.testing.assert_close(other_up @ other_down, up @ down)


def write_pairs(folder: Path, count: int = 2, side: int = RESOLUTION) -> Path:
    """Draw pairs: a disc whose colour differs between the images."""
    for index in range(count):
        for name, colour in (("source", "red"), ("target", "blue")):
            image = Image.new("RGB", (side, side), "white")
            draw = ImageDraw.Draw(image)
            draw.ellipse((2 + index, 2, side - 3, side - 3 - index), fill=colour)
            path = folder / name / f"p{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    return folder


def picture(path, seed=0, side=32):
    """Write a smooth picture, whose latents the tiny model's VAE keeps small."""
    small = np.random.default_rng(seed).integers(60, 200, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def noise(seed: int = 0, width: int = 32, height: int | None = None) -> Image.Image:
    """Draw a picture of noise, square unless a height is given."""
    shape = (height or width, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))

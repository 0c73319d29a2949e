"""A tiny random FLUX.2 klein in a standard folder: 2 double and 2 single blocks of width 32."""

from __future__ import annotations

import json
import string
from pathlib import Path

import numpy as np
import torch

LENGTH = 24  # tokens of a prompt
STEPS = 4  # of a rendering
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer():
    """Return a tokenizer of single letters."""
    from transformers import Qwen2TokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = [letter for letter in string.printable if letter.isprintable() and letter != " "]
    words = {word: index for index, word in enumerate([*special, *letters, "Ġ", "Ċ"])}
    made = Qwen2TokenizerFast(
        vocab=words,
        merges=[],
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    made.chat_template = TEMPLATE
    return made


def write_klein(folder: Path, *, distilled: bool = False) -> Path:
    """Save a random FLUX.2 klein as a diffusers Flux2KleinPipeline folder."""
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    vae.bn.running_mean.normal_(0, 0.3)
    vae.bn.running_var.uniform_(0.5, 2)
    words = tokenizer()
    encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=29,  # two more than are read
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=2,
        )
    )
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=encoder,
        tokenizer=words,
        transformer=transformer,
        is_distilled=distilled,
    )
    pipeline.save_pretrained(folder)
    assert json.loads((folder / "model_index.json").read_text())["is_distilled"] == distilled
    return folder


def open_klein(folder: Path, hardware=None):
    """Open a model anew: a transformer that was placed for one hardware serves no other."""
    from pairedit.bases.flux2.load import load
    from pairedit.machine.hardware import Hardware

    load.cache_clear()
    return load(
        str(folder),
        device="cpu",
        precision="float32",
        max_sequence_length=LENGTH,
        hardware=hardware or Hardware(),
    )


def theirs(pipeline, size, guidance, seed=3, negative=""):
    """Return the image that diffusers draws."""
    height, width = size
    unwanted, _ = pipeline.encode_prompt(negative, max_sequence_length=LENGTH)
    image = pipeline(
        prompt="old",
        height=height,
        width=width,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        negative_prompt_embeds=unwanted,
        max_sequence_length=LENGTH,
        generator=torch.Generator().manual_seed(seed),
    ).images[0]
    return np.asarray(image)


def ours(base, size, guidance, sliders=(), seed=3, **changes):
    """Return the images that our sampler makes, by scale."""
    from pairedit.sample import generate
    from pairedit.settings import Rendering

    rendering = Rendering(num_inference_steps=STEPS, guidance_scale=guidance, size=size, **changes)
    samples = generate(base, sliders=sliders, prompts=["old"], seeds=[seed], rendering=rendering)
    return [np.asarray(sample.image) for sample in samples]

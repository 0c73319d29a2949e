"""A random Z-Image of tiny dimensions, as a standard diffusers ZImagePipeline folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from klein import tokenizer
from tiny import running

LENGTH = 96  # tokens of a prompt
PROMPTS = ("old", "a portrait of a man who smiles at whoever looks at him")  # unlike lengths
NEGATIVE = "blurry"
STEPS = 4  # of a rendering


def write_z_image(folder: Path, *, shift: float = 3.0) -> Path:
    """Save a Z-Image of 2 layers and a refiner of each kind."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        ZImagePipeline,
        ZImageTransformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    words = tokenizer()
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.ones_(token)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=2,
        )
    )
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=vae,
        text_encoder=encoder,
        tokenizer=words,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


def drawn(pipeline, prompt, size=(32, 32), guidance_scale=0.0, negative="", kind="latent", **more):
    """Return what diffusers draws: latents, or kind="np" images."""
    return pipeline(
        prompt,
        height=size[0],
        width=size[1],
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        negative_prompt=negative,
        max_sequence_length=LENGTH,
        generator=torch.Generator().manual_seed(7),
        output_type=kind,
        **more,
    ).images[0]


def ours(base, prompts, size=(32, 32), guidance_scale=0.0, negative="", sliders=()):
    """Return the latents and the images that our sampler makes, by prompt and scales."""
    from pairedit.sample import generate
    from pairedit.settings import Rendering

    latents = []
    base = running(base)
    decode = base.decode
    base.decode = lambda some: latents.extend(some) or decode(some)
    samples = generate(
        base,
        sliders=list(sliders),
        prompts=list(prompts),
        seeds=[7],
        rendering=Rendering(
            skip=0,
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            negative_prompt=negative,
            size=size,
        ),
    )
    return {
        (sample.prompt, *sample.scales): (one, np.asarray(sample.image) / 255)
        for sample, one in zip(samples, latents, strict=True)
    }


def apart(found, expected):
    """Return how far latents are apart, relative to the largest of them."""
    return float((found - expected).abs().max() / expected.abs().max())

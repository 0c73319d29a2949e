"""Own the two small models: their parts, their latents, and one velocity for a whole batch.

Shape letters: B rows, C latent channels, h and w latent height and width, N image tokens,
L text tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from scripts.small_bases.words import WIDTH
from torch import Tensor, nn

from pairedit.files import locate

HEADS, HEAD = 4, 64


@dataclass(frozen=True, kw_only=True)
class Small:
    """Say what is special to one of them."""

    option: str  # of conf/model, which opens it
    layers: Sequence[int]  # of the text encoder
    shift: float  # of the noise levels when it draws 128 px in 28 steps
    transformer: Callable[[], nn.Module]
    vae: Callable[[AutoencoderKL, Tensor], nn.Module]  # from flux-mini's and some raw latents
    normalise: Callable[[nn.Module, Tensor], Tensor]  # raw latents, to those that are learnt
    velocity: Callable[..., Tensor]  # (transformer, noisy, sigma [B], text, mask) -> like noisy
    pipeline: Callable[..., DiffusionPipeline]
    compiled: tuple[str, ...]  # lists of blocks
    guidance: tuple[float, float]  # off, and such that v = u + 2 (c - u)


def flux_mini_vae() -> AutoencoderKL:
    """Load flux-mini's autoencoder, in float32."""
    folder = locate("pkg://flux_mini/vae")
    vae = AutoencoderKL.from_pretrained(folder, dtype=torch.float32)
    return vae.requires_grad_(False).eval()


def patchify(latents: Tensor) -> Tensor:
    """Turn [B, C, h, w] into [B, 4 C, h / 2, w / 2]; a channel's four places stay together."""
    return nn.functional.pixel_unshuffle(latents, 2)


# FLUX.2: latents are patches, normalised channel by channel; plain tokens.


def _flux2_transformer() -> nn.Module:
    return Flux2Transformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=3,
        num_single_layers=6,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        joint_attention_dim=3 * WIDTH,
        timestep_guidance_channels=256,
        axes_dims_rope=(16, 16, 16, 16),
        guidance_embeds=False,
    )


def _flux2_vae(mini: AutoencoderKL, latents: Tensor) -> nn.Module:
    same = (
        "in_channels out_channels down_block_types up_block_types block_out_channels "
        "layers_per_block act_fn latent_channels norm_num_groups sample_size use_quant_conv "
        "use_post_quant_conv mid_block_add_attention"
    )
    vae = AutoencoderKLFlux2(**{key: mini.config[key] for key in same.split()})
    unknown = vae.load_state_dict(mini.state_dict(), strict=False)
    assert not unknown.unexpected_keys
    assert all(key.startswith("bn.") for key in unknown.missing_keys)
    patches = patchify(latents)
    vae.bn.running_mean.copy_(patches.mean((0, 2, 3)))
    vae.bn.running_var.copy_(patches.var((0, 2, 3)))
    return vae.requires_grad_(False).eval()


def _flux2_normalise(vae: nn.Module, latents: Tensor) -> Tensor:
    mean, variance = (
        part.view(1, -1, 1, 1).to(latents.device)
        for part in (vae.bn.running_mean, vae.bn.running_var)
    )
    return (patchify(latents) - mean) / torch.sqrt(variance + vae.config.batch_norm_eps)


def _flux2_velocity(
    transformer: nn.Module, noisy: Tensor, sigma: Tensor, text: Tensor, mask: Tensor
) -> Tensor:
    rows, _, h, w = noisy.shape
    like = {"device": noisy.device}
    one = torch.arange(1, **like)
    image = torch.cartesian_prod(one, torch.arange(h, **like), torch.arange(w, **like), one)
    words = torch.cartesian_prod(one, one, one, torch.arange(text.shape[1], **like))
    output = transformer(
        hidden_states=noisy.flatten(2).transpose(1, 2),
        encoder_hidden_states=text,  # the padding as well, as in its pipeline
        timestep=sigma,
        img_ids=image[None].expand(rows, -1, -1),
        txt_ids=words[None].expand(rows, -1, -1),
        guidance=None,
        return_dict=False,
    )[0]
    return output.transpose(1, 2).unflatten(2, (h, w))


def _flux2_pipeline(**parts: Any) -> DiffusionPipeline:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return Flux2KleinPipeline(scheduler=scheduler, **parts)


# Z-Image: latents as FLUX.1's; clock and sign turned round.


def _z_image_transformer() -> nn.Module:
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=HEADS * HEAD,
        n_layers=7,
        n_refiner_layers=1,
        n_heads=HEADS,
        n_kv_heads=HEADS,
        cap_feat_dim=WIDTH,
        axes_dims=[16, 24, 24],
        axes_lens=[128, 64, 64],
    )
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        nn.init.normal_(token, std=0.02)
    return transformer


def _z_image_velocity(
    transformer: nn.Module, noisy: Tensor, sigma: Tensor, text: Tensor, mask: Tensor
) -> Tensor:
    """Run all rows at once; diffusers' own forward walks over them one by one.

    Every prompt is padded to LENGTH, and 128 px are 64 tokens, both multiples of 32: there is no
    other padding, and no mask. A test holds it to diffusers' forward.
    """
    rows, channels, h, w = noisy.shape
    tokens, length = h // 2 * (w // 2), text.shape[1]
    assert length % 32 == 0
    assert tokens % 32 == 0
    like = {"device": noisy.device, "dtype": torch.int32}
    one = torch.zeros(1, **like)
    clock = transformer.t_embedder((1 - sigma) * transformer.t_scale).type_as(noisy)
    patches = noisy.unflatten(2, (-1, 2)).unflatten(4, (-1, 2))  # [B, C, h / 2, 2, w / 2, 2]
    patches = patches.permute(0, 2, 4, 3, 5, 1).reshape(rows, tokens, 4 * channels)
    places = torch.cartesian_prod(
        one + length + 1, torch.arange(h // 2, **like), torch.arange(w // 2, **like)
    )
    image = transformer.all_x_embedder["2-1"](patches)
    turns = transformer.rope_embedder(places)[None].expand(rows, -1, -1)
    for block in transformer.noise_refiner:
        image = block(image, None, turns, clock)
    words = transformer.cap_embedder(text)
    words = torch.where(mask[..., None], words, transformer.cap_pad_token.type_as(words))
    order = torch.cartesian_prod(torch.arange(1, length + 1, **like), one, one)
    word_turns = transformer.rope_embedder(order)[None].expand(rows, -1, -1)
    for block in transformer.context_refiner:
        words = block(words, None, word_turns)
    both, both_turns = torch.cat([image, words], 1), torch.cat([turns, word_turns], 1)
    for block in transformer.layers:
        both = block(both, None, both_turns, clock)
    output = transformer.all_final_layer["2-1"](both, c=clock)[:, :tokens]
    output = output.reshape(rows, h // 2, w // 2, 2, 2, channels)
    return -output.permute(0, 5, 1, 3, 2, 4).reshape(noisy.shape)


def _z_image_vae(mini: AutoencoderKL, latents: Tensor) -> nn.Module:
    return mini


def _z_image_normalise(vae: nn.Module, latents: Tensor) -> Tensor:
    return (latents - vae.config.shift_factor) * vae.config.scaling_factor


def _z_image_pipeline(**parts: Any) -> DiffusionPipeline:
    return ZImagePipeline(scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), **parts)


SMALL = {
    "flux2-mini": Small(
        option="flux2-klein",
        layers=(9, 18, 27),
        shift=5.9,
        transformer=_flux2_transformer,
        vae=_flux2_vae,
        normalise=_flux2_normalise,
        velocity=_flux2_velocity,
        pipeline=_flux2_pipeline,
        compiled=("transformer_blocks", "single_transformer_blocks"),
        guidance=(1.0, 2.0),
    ),
    "z-image-mini": Small(
        option="z-image",
        layers=(-2,),
        shift=3.0,
        transformer=_z_image_transformer,
        vae=_z_image_vae,
        normalise=_z_image_normalise,
        velocity=_z_image_velocity,
        pipeline=_z_image_pipeline,
        compiled=("noise_refiner", "context_refiner", "layers"),
        guidance=(0.0, 1.0),
    ),
}

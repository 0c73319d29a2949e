"""The decoder of a VAE gives the same, fused or not."""

import copy

import torch
from diffusers import AutoencoderKL

from pairedit.bases.decoder import NormSilu, Resnet, fuse_decoder


@torch.no_grad()
def test_a_fused_decoder_gives_the_plain_pictures():
    torch.manual_seed(0)
    channels = {"block_out_channels": (32, 64), "up_block_types": ["UpDecoderBlock2D"] * 2}
    down = ["DownEncoderBlock2D"] * 2
    vae = AutoencoderKL(**channels, down_block_types=down, latent_channels=4).eval()
    for weight in vae.decoder.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    plain = copy.deepcopy(vae.decoder)
    fuse_decoder(vae.decoder)
    kinds = [type(part) for part in vae.decoder.modules()]
    assert kinds.count(Resnet) > 4
    assert kinds.count(NormSilu) == 1
    assert vae.decoder.state_dict().keys() == plain.state_dict().keys()
    latents = torch.randn(2, 4, 6, 5)
    expected, found = plain(latents), vae.decoder(latents)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

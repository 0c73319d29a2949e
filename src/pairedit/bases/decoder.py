"""Own how the decoder of a VAE runs on a GPU: channels last, in few walks through memory.

Only methods change, and how weights lie; no weights and no names.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from pairedit.machine.norms import add_biased, norm_silu


def fuse_decoder(decoder: nn.Module) -> None:
    """Let a decoder of diffusers' AutoencoderKL, on the CPU and without gradient, run faster."""
    for part in decoder.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
        if type(part) is ResnetBlock2D and _plain(part):
            part.__class__ = Resnet
    if isinstance(decoder.conv_norm_out, nn.GroupNorm) and isinstance(decoder.conv_act, nn.SiLU):
        decoder.conv_norm_out.__class__, decoder.conv_act = NormSilu, nn.Identity()


class NormSilu(nn.GroupNorm):
    """Apply silu as well."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same."""
        return norm_silu(self, x)


class Resnet(ResnetBlock2D):
    """Run a block whose biases are added where others walk already.

    Source: diffusers' ResnetBlock2D, whose result this is.
    """

    def forward(self, input_tensor: Tensor, temb: None = None, *_: Any, **__: Any) -> Tensor:
        """Map [B, C, H, W] to [B, channels out, H, W]."""
        x = _convolve(self.conv1, norm_silu(self.norm1, input_tensor))
        x = _convolve(self.conv2, norm_silu(self.norm2, x, self.conv1.bias))
        bias, beside = self.conv2.bias, input_tensor
        if self.conv_shortcut is not None:
            beside = _convolve(self.conv_shortcut, input_tensor)
            if self.conv_shortcut.bias is not None:
                bias = bias + self.conv_shortcut.bias
        return add_biased(x, beside, bias)


def _plain(block: ResnetBlock2D) -> bool:
    """Say whether a block is of the kind that `Resnet` runs."""
    bare = block.time_emb_proj is None and block.upsample is None and block.downsample is None
    bare = bare and block.time_embedding_norm != "scale_shift" and block.output_scale_factor == 1
    return bare and isinstance(block.nonlinearity, nn.SiLU)


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve without the bias."""
    return F.conv2d(x, layer.weight, None, layer.stride, layer.padding)

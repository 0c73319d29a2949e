"""Own Z-Image as it is measured: its sizes with random weights. `--base z-image`.

The transformer's blocks of a kind share memory. A prompt counts with the tokens that it has, filled
up to a multiple of 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

import sizes
from base_flux2_klein import QWEN_4B, tokenizer
from base_flux2_klein import TINY as TINY_KLEIN
from pairedit.bases.z_image.zimage import ZImageBase
from pairedit.machine.hardware import Hardware
from pairedit.mini import untrained


@dataclass(frozen=True, kw_only=True)
class ZImageSize(sizes.Amount):
    """Hold the sizes of one Z-Image, and how much is measured on it."""

    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    qwen: Mapping[str, Any]
    length: int = 512
    prompt: str = "a portrait"  # up to 32 tokens of letters, as the negative prompt

    def opened(self, device: torch.device, hardware: Hardware) -> ZImageBase:
        """Build the model."""
        given = {"device": device, "max_sequence_length": self.length, "hardware": hardware}
        return ZImageBase(build(self), **given)

    def forward(self) -> float:
        """Count the matrix products of one row of one forward pass, 2 for a multiply-add.

        A block takes 12 D^2 for a token and 2 S^2 D of attention, in multiply-adds. What belongs to
        the clock is left out: it is computed for a row, not for its tokens.
        """
        d, (image, text) = self.transformer["dim"], self._tokens()
        ends = 4 * self.transformer["in_channels"] * (image + (image + text))  # in, and out
        ends += self.transformer["cap_feat_dim"] * text
        linear, attention = self._blocks()
        return 2.0 * (linear + attention + d * ends)

    def training(self, rows: int) -> float:
        """Count one training step; see `measure.training_flops`."""
        linear, attention = self._blocks()
        return rows * (self.forward() + 2.0 * (linear + 2 * attention))

    def _tokens(self) -> tuple[int, int]:
        """Return the image and text tokens of one row; a token covers 16 x 16 px."""
        return -(-((self.resolution // 16) ** 2) // 32) * 32, 32

    def _blocks(self) -> tuple[float, float]:
        """Return the multiply-adds of all linear layers, and of all attention."""
        d, (image, text) = self.transformer["dim"], self._tokens()
        refiners, layers = self.transformer["n_refiner_layers"], self.transformer["n_layers"]
        counts = [image, text] * refiners + [image + text] * layers
        linear = 4.0 * d**2 + 3 * d * int(d / 3 * 8)  # 12 D^2 but for rounding
        return linear * sum(counts), 2.0 * d * sum(count**2 for count in counts)


FULL = ZImageSize(
    transformer={
        "in_channels": 16,
        "dim": 3840,
        "n_layers": 30,
        "n_refiner_layers": 2,
        "n_heads": 30,
        "n_kv_heads": 30,
        "cap_feat_dim": 2560,
    },
    vae=sizes.FULL.vae,
    qwen={**QWEN_4B, "num_hidden_layers": 36},
    resolution=512,
)
TINY = ZImageSize(
    transformer={
        "in_channels": 4,
        "dim": 32,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": 16,
        "axes_dims": [8, 4, 4],
        "axes_lens": [256, 32, 32],
    },
    vae=sizes.TINY.vae,
    qwen={**TINY_KLEIN.qwen, "num_hidden_layers": 2},
    length=32,
    **{part.name: getattr(TINY_KLEIN, part.name) for part in fields(sizes.Amount)[:-1]},
)
SIZES = {"full": FULL, "tiny": TINY}


def build(size: ZImageSize) -> ZImagePipeline:
    """Build the pipeline on the CPU, as `load` would have it; the VAE in float32."""
    with torch.device("meta"):
        config = Qwen3Config(**size.qwen)
        parts = {
            "transformer": ZImageTransformer2DModel(**size.transformer),
            "vae": untrained.autoencoder(**size.vae),
            "text_encoder": Qwen3Model(config),
        }
    # It holds numbers that are computed, not learnt.
    parts["text_encoder"].rotary_emb = type(parts["text_encoder"].rotary_emb)(config)
    for name, part in parts.items():
        dtype = torch.float32 if name == "vae" else size.dtype
        sizes.fill(part, dtype, distinct=size.distinct, pool=size.pool)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return ZImagePipeline(**parts, tokenizer=tokenizer(), scheduler=scheduler)

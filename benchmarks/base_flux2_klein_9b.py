"""Own FLUX.2 klein 9B as it is measured. `--base flux2-klein-9b`."""

from __future__ import annotations

from dataclasses import replace

from base_flux2_klein import FULL, QWEN_4B, TINY

LARGER = {
    "num_layers": 8,
    "num_single_layers": 24,
    "num_attention_heads": 32,
    "joint_attention_dim": 12288,
}
SIZES = {
    "full": replace(
        FULL,
        transformer={**FULL.transformer, **LARGER},
        qwen={**QWEN_4B, "hidden_size": 4096, "intermediate_size": 12288},
    ),
    "tiny": TINY,
}

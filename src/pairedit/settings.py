"""Own the numbers of a training run, independent of model, method and data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hold the numbers of a training run, independent of model, method and data."""

    steps: int = 500
    learning_rate: float = 2e-3
    rank: int = 16
    alpha: float = 1.0
    targets: str | tuple[str, ...] = "attention"
    resolution: int = 512  # px
    num_inference_steps: int = 28
    start_step: int = 0
    end_step: int = 27  # inclusive
    guidance_scale: float | None = 3.5
    seed: int = 0
    save_every: int = 0  # updates between checkpoints; 0 writes none
    snapshots: bool = False  # keep the LoRA files of every checkpoint
    latents: str = "mode"  # mode or sample of the VAE's posterior
    batch_terms: bool = True
    gradient_checkpointing: float = 0.0  # share of the blocks

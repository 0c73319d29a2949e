"""Train one of the small models: rectified flow on latents of rendered faces.

noisy = (1 - sigma) x + sigma eps,  target eps - x
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from scripts.flux_mini.run import Average
from scripts.small_bases import words
from scripts.small_bases.bases import Small, flux_mini_vae
from torch import Tensor, nn

from pairedit.mini.faces import render, sample_attributes
from pairedit.mini.probe import WEIGHTS as PROBE

RATE = 1e-3  # the peak of the learning rate
WARM_UP, DECAY = 0.03, 0.4  # shares of the time in which it rises, and falls to zero
SAVING = 40  # seconds at the end of the time that are kept for saving and looking


@dataclass(frozen=True, kw_only=True)
class Job:
    """Say how long to train, and on how much."""

    device: torch.device
    minutes: float
    steps: int  # at most
    faces: int
    batch: int
    compiled: bool
    started: float  # of time.monotonic

    @property
    def share(self) -> float:
        """Return how much of the time is over."""
        return (time.monotonic() - self.started) / max(1.0, self.minutes * 60 - SAVING)

    def log(self, line: str) -> None:
        """Print a line at once, with the time."""
        print(f"{time.monotonic() - self.started:6.1f} s  {line}", flush=True)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return bf16 autocast on a GPU, nothing elsewhere."""
        cuda = self.device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if cuda else contextlib.nullcontext()


def faces(job: Job, vae: AutoencoderKL) -> tuple[Tensor, Tensor]:
    """Render and encode faces; returns attributes [B, A] and raw latents, float32."""
    attributes = sample_attributes(job.faces, torch.Generator().manual_seed(1000)).float()
    attributes, latents = attributes.to(job.device), []
    for part in attributes.split(256):
        images = (render(part) * 255).round() / 127.5 - 1
        with torch.no_grad(), job.autocast():
            latents.append(vae.encode(images).latent_dist.mode().float())
    return attributes, torch.cat(latents)


def train(small: Small, job: Job, folder: Path) -> DiffusionPipeline:
    """Train until the time or the steps are over, and save the pipeline."""
    torch.manual_seed(0)
    mini = flux_mini_vae().to(job.device)
    attributes, latents = faces(job, mini)
    vae = small.vae(mini.cpu(), latents.cpu())
    clean = small.normalise(vae, latents)
    job.log(f"{len(clean)} faces, latents of mean {clean.mean():.3f} and spread {clean.std():.3f}")
    tokenizer = words.build_tokenizer()
    encoder = words.build_encoder(tokenizer)
    ids, mask = words.token_ids(tokenizer, words.captions(attributes, seed=0))
    text = words.encode(encoder, ids, mask, small.layers, job.device)
    mask = mask.to(job.device)
    transformer = small.transformer().to(job.device)
    count = sum(weight.numel() for weight in transformer.parameters())
    job.log(f"{count:,} parameters, {len(tokenizer)} tokens, batches of {job.batch}")
    average = Average(transformer, 0.9995)
    velocity = lambda *inputs: small.velocity(transformer, *inputs)  # noqa: E731
    with _compiled(small, transformer, job):
        _loop(job, transformer, average, velocity, clean, text, mask, small.shift)
    transformer.load_state_dict(average.state())
    pipeline = small.pipeline(
        vae=vae,
        text_encoder=encoder.cpu(),
        tokenizer=tokenizer,
        transformer=transformer.cpu().eval(),
    )
    pipeline.save_pretrained(folder)
    shutil.copy(PROBE, folder / PROBE.name)  # pairedit-eval reads the probe of the model's folder
    job.log(f"saved in {folder}")
    return pipeline


def _loop(
    job: Job,
    transformer: nn.Module,
    average: Average,
    velocity: Callable[..., Tensor],
    clean: Tensor,
    text: Tensor,
    mask: Tensor,
    shift: float,
) -> None:
    """Take AdamW steps while there is time."""
    optimizer = torch.optim.AdamW(
        transformer.parameters(),
        lr=RATE,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=job.device.type == "cuda",
    )
    begun, total, seen = job.share, torch.zeros((), device=job.device), 0
    for step in range(1, job.steps + 1):
        # Looking at the clock does not wait for the GPU, so the last steps may run on a little.
        share = max((job.share - begun) / max(1e-6, 1 - begun), step / job.steps)
        if share > 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, share / WARM_UP, (1 - share) / DECAY)
        picked = torch.randint(len(clean), (job.batch,), device=job.device)
        x = clean[picked]
        sigma = draw_sigma(job.batch, shift, job.device)
        eps = torch.randn_like(x)
        noisy = torch.lerp(x, eps, sigma[:, None, None, None])
        with job.autocast():
            found = velocity(noisy, sigma, text[picked].float(), mask[picked])
        loss = nn.functional.mse_loss(found.float(), eps - x)
        loss.backward()
        nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update()
        total, seen = total + loss.detach(), seen + 1
        if step in (1, 10, 100) or step % 500 == 0 or step == job.steps:
            job.log(f"step {step}, loss {float(total) / seen:.4f}, {share:.0%} of the time")
            total, seen = torch.zeros((), device=job.device), 0


def draw_sigma(count: int, shift: float, device: torch.device) -> Tensor:
    """Draw noise levels [count]: half logit-normal, a quarter each uniform and shifted."""
    normal = torch.sigmoid(torch.randn(count, device=device))
    uniform = torch.rand(count, device=device)
    shifted = shift * uniform / (1 + (shift - 1) * uniform)
    kind = torch.rand(count, device=device)
    sigma = torch.where(kind < 0.5, normal, torch.where(kind < 0.75, uniform, shifted))
    return sigma.clamp(1e-3, 1)


@contextlib.contextmanager
def _compiled(small: Small, transformer: nn.Module, job: Job) -> Iterator[None]:
    """Let the blocks run compiled inside, on a GPU."""
    blocks = [block for name in small.compiled for block in getattr(transformer, name)]
    if job.compiled and job.device.type == "cuda":
        torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
        for block in blocks:
            block.compile(dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None

"""Stage vae: the autoencoder, trained on rendered faces and on clutter.

Loss: L1 + 2·MSE + edges (L1 of finite differences) + a faint KL term. Clutter (random noise fields
and shapes, random crops) keeps the latent space usable for pictures that are no rendered face.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from scripts.flux_mini.run import HELD_OUT_SEED, Average, Run
from torch import Tensor, nn

from pairedit.mini import untrained

KL_WEIGHT = 3e-7
CLUTTER = 0.12  # share of a batch


def build() -> AutoencoderKL:
    """Return the untrained autoencoder: 8x down, 16 channels, FLUX's layout."""
    return untrained.autoencoder(
        block_out_channels=(40, 80, 128, 192),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=128,
    )


class _Loss(nn.Module):
    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor) -> Tensor:
        posterior = self.vae.encode(images).latent_dist
        logvar = posterior.logvar.float()
        mean = posterior.mean.float()
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        error = self.vae.decode(latents.to(images.dtype)).sample.float() - images.float()
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum((1, 2, 3)).mean()
        return error.abs().mean() + 2 * (error**2).mean() + edges + KL_WEIGHT * kl


def clutter(count: int, like: Tensor) -> Tensor:
    """Draw [count, 3, H, W] in [-1, 1]: coloured 1/f fields cut by random half planes."""
    side = like.shape[-1]
    frequency = torch.fft.fftfreq(side, device=like.device)
    radius = torch.sqrt(frequency[:, None] ** 2 + frequency[None, : side // 2 + 1] ** 2)
    falloff = (radius + 1 / side) ** -(0.8 + 0.8 * torch.rand(count, 1, 1, 1, device=like.device))

    def field(channels: int) -> Tensor:
        spectrum = torch.fft.rfft2(torch.randn(count, channels, side, side, device=like.device))
        values = torch.fft.irfft2(spectrum * falloff)
        return values / values.std((2, 3), keepdim=True)

    hue = torch.randn(count, 3, 3, device=like.device) * 0.35
    first, second = (torch.einsum("bij,bjhw->bihw", hue, field(3)) for _ in range(2))
    middle = torch.rand(2, count, 3, 1, 1, device=like.device) * 1.4 - 0.7
    mask = (field(1) > 0).float()
    return ((first + middle[0]) * mask + (second + middle[1]) * (1 - mask)).clamp(-1, 1)


def _batch(images: Tensor, size: int) -> Tensor:
    """Draw a batch in [-1, 1]: faces, some zoomed and recoloured, and clutter."""
    picked = images[torch.randint(len(images), (size,), device=images.device)]
    batch = picked.float() / 127.5 - 1
    wild = int(size * CLUTTER)
    if wild:
        batch[:wild] = clutter(wild, batch)
        zoom = batch[wild : 2 * wild]
        angle = torch.rand(wild, device=batch.device) * 6.28
        scale = 0.3 + 0.7 * torch.rand(wild, device=batch.device)
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        shift = torch.rand(2, wild, device=batch.device) * 0.8 - 0.4
        theta = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], 1).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(zoom.shape), align_corners=False)
        turned = F.grid_sample(zoom, grid, padding_mode="reflection", align_corners=False)
        batch[wild : 2 * wild] = turned[:, torch.randperm(3, device=batch.device)]
    return batch


def decibel(vae: AutoencoderKL, images: Tensor, run: Run) -> float:
    """Return the mean reconstruction PSNR in dB over uint8 images, posterior mode."""
    scores = []
    with torch.no_grad(), run.autocast():
        for part in images.split(128):
            clean = part.float() / 255
            decoded = vae.decode(vae.encode(clean * 2 - 1).latent_dist.mode()).sample
            decoded = ((decoded.float().clamp(-1, 1) + 1) * 127.5).round() / 255
            scores.append(-10 * torch.log10(((decoded - clean) ** 2).mean((1, 2, 3))))
    return float(torch.cat(scores).mean())


def train(run: Run) -> None:
    """Train for `run.seconds`, continuing from the checkpoint if there is one."""
    vae = build()
    state = run.load("vae")
    if state:
        vae.load_state_dict(state["raw"])
    vae = vae.to(run.device).to(memory_format=torch.channels_last)
    average = Average(vae, 0.999)
    loss_of = _Loss(vae)
    if run.compiled:
        loss_of.compile()
    parallel = run.parallel(loss_of)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    _, images = run.faces(64 if run.tiny else 40_000, seed=1 + run.rank)
    _, unseen = run.faces(16 if run.tiny else 512, seed=HELD_OUT_SEED)
    size = 16 if run.tiny else 96
    step = (state or {}).get("step", 0)
    run.log(
        f"vae: {sum(p.numel() for p in vae.parameters()):,} parameters, data {run.elapsed:.0f} s"
    )
    while (elapsed := run.elapsed) < run.seconds:
        for group in optimizer.param_groups:
            group["lr"] = run.rate(1e-3, elapsed, 0.6)
        batch = _batch(images, size).to(memory_format=torch.channels_last)
        with run.autocast():
            loss = parallel(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update()
        step += 1
        if step % 500 == 0 or run.tiny:
            run.log(f"vae: step {step} loss {loss.item():.4f} at {elapsed:.0f} s")
    final = build().to(run.device)
    final.load_state_dict(average.state())
    score, wild = decibel(final, unseen, run), clutter(64, unseen[:1].float())
    wild = decibel(final, ((wild + 1) * 127.5).byte(), run)
    run.log(f"vae: step {step} held-out faces {score:.2f} dB, clutter {wild:.2f} dB")
    run.save("vae", raw=vae.state_dict(), average=average.state(), step=step)

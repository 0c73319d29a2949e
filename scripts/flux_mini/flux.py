"""Stage flux: the transformer and both text encoders, on latents of rendered faces.

Rectified flow: noisy = (1 - sigma)·x + sigma·eps, target eps - x. Guidance is drawn at random, so
that the guidance embedding is there but any value serves.
"""

from itertools import pairwise

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from PIL import Image
from scripts.flux_mini import text, vae
from scripts.flux_mini.run import HELD_OUT_SEED, Average, Run
from torch import Tensor, nn

from pairedit.mini.faces import INDEX, phrases
from pairedit.mini.probe import Probe


def build() -> FluxTransformer2DModel:
    """Return the untrained transformer: 3 double and 6 single blocks, 4 heads of 64."""
    return FluxTransformer2DModel(
        in_channels=64,
        num_layers=3,
        num_single_layers=6,
        attention_head_dim=64,
        num_attention_heads=4,
        joint_attention_dim=128,
        pooled_projection_dim=96,
        guidance_embeds=True,
        axes_dims_rope=(8, 28, 28),
    )


class Model(nn.Module):
    """Transformer and text encoders, called as one so that one wrapper averages gradients."""

    def __init__(self, clip, t5) -> None:
        super().__init__()
        self.transformer = build()
        self.text_encoder, self.text_encoder_2 = text.build_encoders(clip, t5)
        image = torch.zeros(8, 8, 3)
        image[..., 1] += torch.arange(8)[:, None]
        image[..., 2] += torch.arange(8)[None]
        self.register_buffer("img_ids", image.view(-1, 3), persistent=False)
        self.register_buffer("txt_ids", torch.zeros(text.LENGTH, 3), persistent=False)

    def forward(self, noisy: Tensor, sigma: Tensor, guidance: Tensor, clip_ids, t5_ids) -> Tensor:
        """Return the velocity [B, 64, 64]."""
        return self.transformer(
            hidden_states=noisy,
            timestep=sigma,
            guidance=guidance,
            pooled_projections=self.text_encoder(clip_ids).pooler_output,
            encoder_hidden_states=self.text_encoder_2(t5_ids)[0],
            img_ids=self.img_ids,
            txt_ids=self.txt_ids,
            return_dict=False,
        )[0]


def pack(latents: Tensor) -> Tensor:
    """Pack [B, 16, 16, 16] latents into 2 x 2 patches, [B, 64, 64]."""
    return FluxPipeline._pack_latents(latents, len(latents), 16, *latents.shape[2:])


def load_vae(run: Run) -> AutoencoderKL:
    """Return the trained autoencoder in evaluation mode."""
    module = vae.build()
    module.load_state_dict(run.load("vae")["average"])
    return module.to(run.device).eval().requires_grad_(False)


def encode(run: Run, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Render and encode faces; returns attributes [B, A] and packed latents, not yet scaled."""
    encoder = load_vae(run)
    attributes, latents = [], []
    for chunk in range(0, count, 8192):
        part, images = run.faces(min(8192, count - chunk), seed=seed + chunk)
        attributes.append(part)
        with torch.no_grad(), run.autocast():
            for piece in images.split(256):
                mode = encoder.encode(piece.float() / 127.5 - 1).latent_dist.mode()
                latents.append(pack(mode.float()))
    return torch.cat(attributes), torch.cat(latents)


def draw_sigma(count: int, device: torch.device) -> Tensor:
    """Draw noise levels [count]: half logit-normal, a quarter uniform, a quarter FLUX-shifted."""
    normal = torch.sigmoid(torch.randn(count, device=device))
    uniform = torch.rand(count, device=device)
    shifted = 1.65 * uniform / (1 + 0.65 * uniform)  # exp(0.5), the shift at 64 tokens and less
    kind = torch.rand(count, device=device)
    sigma = torch.where(kind < 0.5, normal, torch.where(kind < 0.75, uniform, shifted))
    return sigma.clamp(1e-3, 1)


def train(run: Run) -> None:
    """Train for `run.seconds`, continuing from the checkpoint if there is one."""
    clip, t5 = text.load_tokenizers(run.work)
    captions = text.Captions(clip, t5, run.device)
    model = Model(clip, t5)
    state = run.load("flux") or {}
    if state:
        model.load_state_dict(state["raw"])
    model = model.to(run.device)
    average = Average(model, 0.9995)
    attributes, clean = encode(
        run, 64 if run.tiny else 80_000, 1000 + state.get("step", 0) + run.rank * 1_000_000
    )
    shift, scale = state.get("shift"), state.get("scale")
    if shift is None:
        moments = torch.tensor([float(clean.mean()), 1 / float(clean.std())], device=run.device)
        if run.world > 1:
            torch.distributed.broadcast(moments, 0)
        shift, scale = moments.tolist()
    clean = (clean - shift) * scale
    fitting = phrases(attributes)  # here, not in the loop: it makes the GPU wait for the CPU
    if run.compiled:
        model.transformer.compile_repeated_blocks(fullgraph=True)
    parallel = run.parallel(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=run.cuda
    )
    size = 8 if run.tiny else 1024
    step, total, seen = state.get("step", 0), 0.0, 0
    count = sum(p.numel() for p in model.parameters())
    run.log(f"flux: {count:,} parameters, batch {size * run.world}, data {run.elapsed:.0f} s, "
            f"latent shift {shift:.4f} scale {scale:.4f}")  # fmt: skip
    reserve, elapsed = (0 if run.tiny else 20), 0.0
    while elapsed < run.seconds - reserve:
        if step % 20 == 0 or run.tiny:
            elapsed = run.elapsed
        for group in optimizer.param_groups:
            group["lr"] = run.rate(
                1e-3 if state else 1.2e-3, elapsed + reserve * elapsed / run.seconds
            )
        picked = torch.randint(len(clean), (size,), device=run.device)
        x = clean[picked]
        sigma = draw_sigma(size, run.device)
        guidance = 1 + 7 * torch.rand(size, device=run.device)
        eps = torch.randn_like(x)
        noisy = torch.lerp(x, eps, sigma[:, None, None])
        tokens = captions.draw(fitting[picked])
        with run.autocast():
            velocity = parallel(noisy, sigma, guidance, *tokens)
        loss = torch.nn.functional.mse_loss(velocity.float(), eps - x)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update()
        step, seen = step + 1, seen + 1
        total += loss.detach()
        if step % 500 == 0 or run.tiny:
            run.log(f"flux: step {step} loss {float(total) / seen:.4f} at {run.elapsed:.0f} s")
            total, seen = 0.0, 0
    run.save("flux", raw=model.state_dict(), average=average.state(),
             step=step, shift=shift, scale=scale)  # fmt: skip
    if run.rank == 0:
        evaluate(run, model.eval(), average, (clip, t5), shift, scale)


@torch.no_grad()
def evaluate(run: Run, model: Model, average: Average, tokenizers, shift, scale) -> None:
    """Sample a sheet of faces, and count glasses with and without asking for them."""
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict(dict(zip(names, average.shadow, strict=True)), strict=False)
    decoder = load_vae(run)
    probe = Probe()
    trained = run.load("probe")
    if trained:
        probe.load_state_dict(trained["average"])
    probe = probe.to(run.device).eval()
    grid = torch.linspace(1, 1 / 28, 28)
    mu = calculate_shift(64, 256, 4096, 0.5, 1.15)
    sigmas = torch.cat([torch.e**mu / (torch.e**mu + (1 / grid - 1)), torch.zeros(1)]).to(
        run.device
    )
    count = 4 if run.tiny else 64
    rows = []
    for prompt in ("", "image of a person", "image of a person, with glasses",
                   "image of a person, old", "image of a person, smiling"):  # fmt: skip
        ids = [
            tokenizer([prompt] * count, padding="max_length", max_length=text.LENGTH,
                      truncation=True, return_tensors="pt").input_ids.to(run.device)
            for tokenizer in tokenizers
        ]  # fmt: skip
        generator = torch.Generator(run.device).manual_seed(HELD_OUT_SEED)
        x = torch.randn(count, 64, 64, device=run.device, generator=generator)
        for sigma, after in pairwise(sigmas):
            with run.autocast():
                guidance = torch.full((count,), 3.5, device=run.device)
                v = model(x, sigma.expand(count), guidance, *ids)
            x = x + (after - sigma) * v.float()
        latents = FluxPipeline._unpack_latents(x / scale + shift, 128, 128, 8)
        images = decoder.decode(latents).sample.clamp(-1, 1)
        values = probe(images).mean(0)
        run.log(f"flux: prompt {prompt!r}: " + ", ".join(
            f"{name} {float(values[INDEX[name]]):.2f}" for name in ("glasses", "age", "smile")
        ))  # fmt: skip
        rows.append(images[:8])
    sheet = torch.cat(rows).unflatten(0, (len(rows), -1)).permute(0, 3, 1, 4, 2).flatten(0, 1)
    sheet = ((sheet.flatten(1, 2) + 1) * 127.5).round().byte().cpu().numpy()
    Image.fromarray(sheet).save(run.work / "samples.png")

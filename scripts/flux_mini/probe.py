"""Stage probe: the CNN that reads attributes back, trained on rendered, roughened faces."""

import torch
import torch.nn.functional as F
from scripts.flux_mini.run import HELD_OUT_SEED, Average, Run
from torch import Tensor

from pairedit.mini.faces import ATTRIBUTES
from pairedit.mini.probe import Probe, determination, visibility


def roughen(images: Tensor) -> Tensor:
    """Blur and add noise by random amounts, as decoders do; uint8 to [-1, 1]."""
    clean = images.float() / 127.5 - 1
    blur = F.avg_pool2d(clean, 3, stride=1, padding=1, count_include_pad=False)
    amount = torch.rand(len(clean), 1, 1, 1, device=clean.device)
    amount = torch.where(torch.rand_like(amount) < 0.5, 0.0, amount)
    noise = torch.randn_like(clean) * 0.08 * torch.rand_like(amount) * (amount > 0)
    return torch.lerp(clean, blur, amount) + noise


def train(run: Run) -> None:
    """Train for `run.seconds`, continuing from the checkpoint if there is one."""
    probe = Probe()
    state = run.load("probe")
    if state:
        probe.load_state_dict(state["raw"])
    probe = probe.to(run.device).to(memory_format=torch.channels_last)
    average = Average(probe, 0.999)
    parallel = run.parallel(probe)
    if run.compiled:
        probe.compile()
    optimizer = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=1e-3)
    attributes, images = run.faces(64 if run.tiny else 80_000, seed=101 + run.rank)
    unseen = run.faces(32 if run.tiny else 4_000, seed=HELD_OUT_SEED + 1)
    size = 16 if run.tiny else 512
    step = (state or {}).get("step", 0)
    run.log(
        f"probe: {sum(p.numel() for p in probe.parameters()):,} parameters, "
        f"data {run.elapsed:.0f} s"
    )
    while (elapsed := run.elapsed) < run.seconds:
        for group in optimizer.param_groups:
            group["lr"] = run.rate(2e-3, elapsed, 0.8)
        picked = torch.randint(len(images), (size,), device=run.device)
        truth = attributes[picked]
        batch = roughen(images[picked]).to(memory_format=torch.channels_last)
        with run.autocast():
            read = parallel(batch).float()
        loss = ((read - truth) ** 2 * visibility(truth)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update()
        step += 1
        if step % 1000 == 0 or run.tiny:
            run.log(f"probe: step {step} loss {loss.item():.5f} at {elapsed:.0f} s")
    final = Probe().to(run.device)
    final.load_state_dict(average.state())
    truth, images = unseen
    with torch.no_grad(), run.autocast():
        found = [final(part.float() / 127.5 - 1) for part in images.split(256)]
    scores = determination(torch.cat(found).float(), truth).tolist()
    run.log(f"probe: step {step} held-out R2 mean {sum(scores) / len(scores):.4f}: " + ", ".join(
        f"{name} {score:.3f}" for name, score in zip(ATTRIBUTES, scores, strict=True)
    ))  # fmt: skip
    run.save("probe", raw=probe.state_dict(), average=average.state(), step=step)

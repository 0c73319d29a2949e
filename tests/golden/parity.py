"""Train and sample on what the published code recorded: all that names a part of the package.

pairedit-parity.safetensors holds inputs and outputs of that code (github.com/xudonmao/PairEdit at
db8868d): weights and embeddings, 20 training steps with their draws, both samplers. A refactoring
changes this module only; test_parity.py compares.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pairedit import train
from pairedit.bases.flux1.load import load
from pairedit.bases.flux1.names import NAMES
from pairedit.bases.flux1.passes import Text
from pairedit.data.examples import Single, find_pairs
from pairedit.data.images import read_image
from pairedit.edits import Photo, RealImage
from pairedit.lora.adapters import Adapters
from pairedit.lora.file import read_lora, write_lora
from pairedit.machine.hardware import Hardware
from pairedit.methods import Inversion, PairEdit
from pairedit.noising import ContentPreserving
from pairedit.runs.tracking import Silent
from pairedit.sample import Slider, generate
from pairedit.settings import Rendering, Training
from tiny import open_flux as open_tiny
from tiny import running

FILE = Path(__file__).with_name("pairedit-parity.safetensors")
with safe_open(FILE, "pt") as opened:
    NOTES = json.loads(opened.metadata()["golden"])
    GOLDEN = {key: opened.get_tensor(key).clone() for key in opened.keys()}  # noqa: SIM118
    GOLDEN = {k: v.float() if v.dtype == torch.float16 else v for k, v in GOLDEN.items()}
MODULES, RANK, SIDE = NOTES["modules"], NOTES["rank"], NOTES["resolution"]
PROMPT = "image of a person"


def part_of(prefix):
    """Return the tensors below a prefix."""
    prefix += "."
    return {k.removeprefix(prefix): v for k, v in GOLDEN.items() if k.startswith(prefix)}


@dataclass
class Trained:
    """Hold what a training run showed."""

    losses: torch.Tensor  # [steps, terms]
    goals: list  # of each term of step 1
    passes: list  # (input, output) tokens of each row of step 1, once forwards
    gradients: dict  # of step 1, by "content.down"
    files: dict  # by role


def open_flux(folder, fused):
    """Open the tiny model with their weights and embeddings, apart from all others."""
    flux = open_tiny(folder, Hardware(name="fused", fused=True) if fused else Hardware())
    load.cache_clear()
    flux.transformer.load_state_dict(part_of("transformer"))

    def text(prompts):
        rows = [part_of("text.empty" if prompt == "" else "text.sample") for prompt in prompts]
        assert set(prompts) <= {"", PROMPT}
        tokens, pooled = (torch.stack([row[k] for row in rows]) for k in ("tokens", "pooled"))
        return Text(prompts=tuple(prompts), tokens=tokens, pooled=pooled)

    flux.text = text
    return flux


def fit(flux, pairs, folder, draws, *, beta=None, batch_terms=True):
    """Train on recorded draws (index, noise, *sides) from their LoRAs; no `beta`: one image."""
    run, learnt, goals, passes, gradients = Silent(), {}, [], [], {}
    steps = iter(draws)
    losses = []
    run.log = lambda step, metrics: losses.append(
        [value for name, value in metrics.items() if name.startswith("loss/")]
    )
    if beta is None:
        method, pairs = Inversion(), [Single(path=pairs[0].source)]
    else:
        noising = ContentPreserving(noise_scale=beta)
        method = PairEdit(noising=noising, eta=NOTES["eta"], content=True)

    class Spied(type(method)):
        def terms(self, step):
            terms = super().terms(step)
            goals.extend(term.target for term in terms)
            return terms

    def draw(generator, base, shown, grids, settings):
        index, noise, *sides = next(steps)
        path = tuple(grids[settings.size][: int(index) + 1].tolist())
        return train._Draw(pair=0, path=path, noise=noise, sides=tuple(sides))

    def add(adapters, role, **options):
        count = original(adapters, role, **options)
        modules, weights = list(adapters.weights(role)), adapters.parameters(role)
        for part, of_part in (("down", weights[::2]), ("up", weights[1::2])):
            learnt[f"{role}.{part}"] = dict(zip(modules, of_part, strict=True))
            for module, weight in learnt[f"{role}.{part}"].items():
                weight.data = GOLDEN[f"init.{role}.{part}"][MODULES.index(module)].clone()
        return count

    def look(*_):
        if not gradients:
            for part, weights in learnt.items():
                gradients[part] = torch.stack([weights[m].grad for m in MODULES]).clone()

    def passed(module, words, named, output):
        if not gradients:
            passes.extend(zip(named["hidden_states"].detach(), output[0].detach(), strict=True))

    original = Adapters.add
    hooks = [
        register_optimizer_step_pre_hook(look),
        flux.transformer.register_forward_hook(passed, with_kwargs=True),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_draw", draw)
        patch.setattr(Adapters, "add", add)
        try:
            files = train.fit(
                base=running(flux, batch_terms=batch_terms),
                method=Spied(**{k: v for k, v in vars(method).items() if k != "roles"}),
                pairs=pairs,
                settings=Training(
                    steps=len(draws),
                    learning_rate=NOTES["learning_rate"],
                    rank=RANK,
                    alpha=NOTES["alpha"],
                    size=(SIDE, SIDE),
                    num_inference_steps=NOTES["num_inference_steps"],
                    guidance_scale=NOTES["guidance_scale"],
                ),
                folder=folder,
                run=run,
                metadata={},
            )
        finally:
            for hook in hooks:
                hook.remove()
    terms = len(losses[0])
    return Trained(torch.tensor(losses), goals[:terms], passes[:terms], gradients, files)


def weights_of(path):
    """Read a LoRA file as stacks, B as it is trained: without alpha / rank."""
    weights = read_lora(path, NAMES).weights
    downs, ups = (torch.stack([weights[module][part] for module in MODULES]) for part in (0, 1))
    return {"down": downs, "up": ups * RANK / NOTES["alpha"]}


def export(path, out):
    """Write a LoRA file as the published code does."""
    write_lora(out, read_lora(path, NAMES).weights, {}, "published", NAMES)


def sample(flux, semantic, *, image=None, content=None, batch_size=8):
    """Return the final latents of every scale, from their noise, by their real-image formula."""
    latents, photos, edit = [], [], None
    if content:
        edit = RealImage(
            published=True,
            inversion="lora",
            semantic_cfg_scale=NOTES["sample"]["semantic_cfg_scale"],
        )
        picture = read_image(image).resize((SIDE, SIDE))
        photos = [Photo(path=image, image=picture, content=read_lora(content, NAMES))]

    def decode(rows):
        latents.extend(rows)
        return torch.zeros(len(rows), 3, SIDE, SIDE)

    base = running(flux, batch_size=batch_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "decode", decode)
        patch.setattr(base, "noise", lambda seed, size: GOLDEN["sample.noise"])
        scales = tuple(GOLDEN["sample.scales"].tolist())
        # Their text sampler switches the slider on one step later than it says.
        skip = NOTES["sample"]["published_skip_real"]
        if not content:
            skip = NOTES["sample"]["published_skip_text"] + 1
        samples = generate(
            base,
            sliders=[Slider(lora=read_lora(semantic, NAMES), scales=scales)],
            prompts=[PROMPT],
            seeds=[NOTES["sample"]["seed"]],
            rendering=Rendering(
                skip=skip,
                num_inference_steps=NOTES["num_inference_steps"],
                guidance_scale=NOTES["guidance_scale"],
                size=(SIDE, SIDE),
            ),
            edit=edit,
            photos=photos,
        )
        assert [one.scales[0] for one in samples] == list(scales)
    return torch.stack(latents)


def sigmas_of(flux, resolution):
    return flux.sigmas((resolution, resolution), NOTES["num_inference_steps"])


def noise_of(flux, seed):
    return flux.noise(seed, (SIDE, SIDE))


def pairs_in(folder):
    return find_pairs(folder)

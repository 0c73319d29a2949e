"""Own the lines of Python that render a slider with diffusers alone, as strong as pairedit does."""

from __future__ import annotations

import json

from pairedit.plan.card import Card
from pairedit.plan.recipe import Recipe
from pairedit.settings import scale_text


def snippet(card: Card) -> str:
    """Write the lines of Python that render one picture with a slider whose base is known."""
    recipe, base, name = card.recipe, card.base, card.file.name
    scale = f"scale = {scale_text(recipe.strength)}"
    found = " with flowedit=true of pairedit" * recipe.finished
    told = f"worth one pair{found}; 0 is the base model" if recipe.scale else "a guess; try others"
    scale += f"  # {told}"
    lines = ["import torch", f"from diffusers import {base.pipeline}"]
    if base.hub:
        opened = f'"{base.hub}", dtype=torch.bfloat16'
    else:
        lines.append("from pairedit.files import locate  # the base model ships with pairedit")
        opened = f'locate("{base.path}"), dtype=torch.float32'
    lines += ["", f"pipe = {base.pipeline}.from_pretrained({opened})"]
    lines += ['pipe.to("cuda")'] * bool(base.hub)
    load = f'"USER/NAME", weight_name="{name}", adapter_name="slider"'
    lines += [f"pipe.load_lora_weights({load})", scale, f"steps = {recipe.steps}"]
    timed = bool(recipe.skip or recipe.lean)
    lines += _switching(recipe) if timed else ['pipe.set_adapters("slider", scale)']
    height, width = recipe.size
    values = {
        "prompt": json.dumps(recipe.prompt or card.name, ensure_ascii=False),
        "height": height,
        "width": width,
        "num_inference_steps": "steps",
        "guidance_scale": recipe.guidance_scale,
        "max_sequence_length": recipe.tokens,
        "generator": 'torch.Generator("cpu").manual_seed(0)',
        "callback_on_step_end": "after" if timed else None,
    }
    given = [f"    {key}={value}," for key, value in values.items() if value is not None]
    lines += ["image = pipe(", *given, ").images[0]", 'image.save("slider.png")']
    return "\n".join(lines) + "\n"


def _switching(recipe: Recipe) -> list[str]:
    """Write the lines that turn a slider on at its step, and as strong as its schedule says."""
    acting = ["    return scale"]
    if recipe.lean:
        acting = [
            "    place = (step - first) / (steps - 1 - first) if first < steps - 1 else 0.5",
            f"    return scale * (1 + {recipe.lean:g} * (1 - 2 * place))",
        ]
    if isinstance(recipe.skip, float):
        first = [
            f"level = {recipe.skip:g}  # of noise; the slider acts from there on",
            "",
            "",
            "def strength(step):",
            "    levels = pipe.scheduler.sigmas[:-1]",
            "    first = int((levels - level).abs().argmin())",
        ]
        begin = ['pipe.set_adapters("slider", 0.0)']
    else:
        first = [
            f"first = {recipe.skip or 0}  # the slider acts from this step on",
            "",
            "",
            "def strength(step):",
        ]
        begin = ['pipe.set_adapters("slider", strength(0))']
    return [
        *first,
        "    if not first <= step < steps:",
        "        return 0.0",
        *acting,
        "",
        "",
        "def after(pipe, step, time, tensors):",
        '    pipe.set_adapters("slider", strength(step + 1))',
        "    return tensors",
        "",
        "",
        *begin,
    ]

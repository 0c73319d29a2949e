"""Own the words of a slider's model card: a README.md that says how the slider is used.

Everything in it is read from the slider's file, its run and its evaluation. What nobody has
recorded is left out, or said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from pairedit.jobs.figured import figured, usable
from pairedit.jobs.snippet import snippet
from pairedit.lora.file import LoraFile
from pairedit.plan.card import Card, Known
from pairedit.plan.export import ExportPlan
from pairedit.plan.recipe import Recipe, mapping
from pairedit.schedules import SCHEDULES
from pairedit.settings import scale_text

PAPER = "[PairEdit](https://arxiv.org/abs/2506.07992)"
TAGS = ("text-to-image", "diffusers", "lora", "template:diffusion-lora", "slider", "pairedit")

Pictures = Sequence[tuple[str, str]]  # file, what it shows


def readme(plan: ExportPlan, lora: LoraFile, *, pictures: Pictures, gallery: Pictures) -> str:
    """Write the model card of a slider.

    Args:
        plan: with a card.
        lora: the slider as read.
        pictures: sheets in the folder.
        gallery: single renderings, with their prompts.
    """
    card = plan.card
    parts = [
        f"# {card.name} slider",
        *_what(card, gallery),
        *(f"![{shows}]({file})" for file, shows in pictures),
        "## How strong",
        *_strength(card),
        "## From which step on",
        *_steps(card.recipe),
        *figured(card),
        *_in_diffusers(card),
        *_in_comfyui(plan),
        *_here(card),
        "## How it was trained",
        *_training(card, lora),
        *_licence(card.base),
    ]
    return f"---\n{_metadata(card, pictures, gallery)}---\n\n" + "\n\n".join(parts) + "\n"


def _metadata(card: Card, pictures: Pictures, gallery: Pictures) -> str:
    """Write what the hub reads: base model, licence, tags, pictures."""
    entries: dict[str, Any] = {}
    if card.base and card.base.hub:
        entries |= {"base_model": card.base.hub, "base_model_relation": "adapter"}
    entries |= {"library_name": "diffusers", "pipeline_tag": "text-to-image", "tags": list(TAGS)}
    if card.base and (licence := card.base.licence):
        entries["license"] = licence.label
        if licence.name:
            entries |= {"license_name": licence.name, "license_link": licence.link}
    prompt = card.recipe.prompt or card.name
    shown = gallery or [(file, prompt) for file, _ in pictures if file.endswith("sheet.png")]
    if shown:
        entries["widget"] = [{"text": text, "output": {"url": file}} for file, text in shown]
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def _what(card: Card, gallery: Pictures) -> Iterator[str]:
    """Say what it is."""
    base = f" for {_link(card.base)}" if card.base else ""
    yield (
        f"A slider{base}: a LoRA that makes one edit, as strong as its scale says. At scale 0 the "
        "picture is that of the base model. No trigger word is needed."
    )
    if card.words:
        before, after = card.words
        yield f'It was learnt from two prompts, without images: from "{before}" to "{after}".'
    elif card.pairs:
        count = "one pair" if len(card.pairs) == 1 else f"{len(card.pairs)} pairs"
        yield f"It was learnt from {count} of images, before and after the edit, without words."
    if gallery:
        yield "<Gallery />"


def _strength(card: Card) -> Iterator[str]:
    """Say which scale does what."""
    recipe = card.recipe
    if recipe.scale is None:
        begin = f"Begin with {recipe.guess:g}, which is a guess, and try smaller and larger ones."
        yield f"Nobody has measured which scale is worth one pair. {begin}"
        return
    ends, sure = recipe.interval, f" {recipe.sure}" if recipe.sure else ""
    between = " to ".join(map(scale_text, ends or ()))
    between = f" (95 % interval: {between})" if ends else ""
    yield (
        f"**Scale {scale_text(recipe.scale)}**{between} changes a picture as much as one training "
        f"pair does{sure}. Smaller scales change less. A negative scale makes the opposite edit, "
        "as far as the slider can."
    )
    if recipe.finished:
        yield "It was found with `flowedit=true` of pairedit; elsewhere it may change more or less."
    if told := usable(mapping(card.figures)):
        yield told


def _steps(recipe: Recipe) -> Iterator[str]:
    """Say at which steps the slider acts."""
    if recipe.skip is None:
        yield "The file does not say from which step on the slider acts best. 0 means all steps."
    elif recipe.skip == 0:
        yield "The slider acts from the first step on."
    else:
        if isinstance(recipe.skip, int):
            start = f"from step {recipe.skip} of {recipe.steps} on"
            start += f", which is noise level {recipe.level:.2g}" if recipe.level else ""
        else:
            start = f"from noise level {recipe.level:.2g} down"
        yield (
            f"The slider acts {start}. The steps before it draw the picture of the base model, so "
            "that the person and the layout stay. With another number of steps, take the step "
            "whose noise level is nearest."
        )
    if recipe.lean:
        word = {value: key for key, value in SCHEDULES.items()}.get(recipe.lean)
        yield (
            f"Its schedule is {word or format(recipe.lean, 'g')}: it is stronger at "
            f"{'early' if recipe.lean > 0 else 'late'} steps. On average over the steps it has the "
            "scale that you choose."
        )
    if recipe.local:
        way = str(recipe.local).lower()
        yield (
            f"In pairedit it is best used with `local={way}`, which keeps the picture of the base "
            "model where the slider changes little. Other programs cannot do "
            "this: there the slider acts on the whole picture."
        )
    if recipe.flowedit:
        yield (
            "In pairedit it is best used with `flowedit=true`, which edits the finished picture of "
            "the base model. The lines and files for other programs on this page cannot do this: "
            "there the slider acts while the picture is made."
        )


def _in_diffusers(card: Card) -> Iterator[str]:
    """Write lines that render one picture as pairedit does."""
    if card.base is None:
        return
    yield "## In diffusers"
    yield "Write the name of this page, or of its folder on your machine, for `USER/NAME`."
    yield f"```python\n{snippet(card)}```"


def _in_comfyui(plan: ExportPlan) -> Iterator[str]:
    """Say how ComfyUI renders the slider."""
    name, recipe, base = plan.out.name, plan.card.recipe, plan.card.base
    if base is None or base.hub is None:
        return
    yield "## In ComfyUI"
    if plan.workflow:
        yield (
            f"Put `{name}` into the folder `models/loras` of ComfyUI and open "
            f"`{plan.workflow.name}`. It needs ComfyUI's own nodes only. The slider has the scale "
            "and the first step that stand above. The files of the base model have the names that "
            "their makers gave them: choose yours if they differ."
        )
        return
    named = isinstance(recipe.skip, int)
    step = f"step {recipe.skip}" if named else "the step whose noise level is named above"
    yield (
        f"Put `{name}` into the folder `models/loras` of ComfyUI. LoraLoaderModelOnly loads it; "
        "`strength_model` is the scale. The first steps run without it: take two KSamplerAdvanced, "
        f"one on the base model up to {step} (return_with_leftover_noise on), then one on the "
        "LoRA's model from there on (add_noise off)."
    )


def _here(card: Card) -> Iterator[str]:
    """Say how pairedit renders the slider."""
    if card.base is None:
        return
    unit, guess = "", card.recipe.guess
    scales = f"'scales=[0,{guess / 2:g},{guess:g}]'"
    if card.recipe.scale is not None:
        scales = "calibrated=true 'scales=[0,0.5,1]'"
        unit = "Here 1 is the scale that is worth one pair. "
    yield "## In pairedit"
    yield f"```sh\npairedit-gen model={card.base.name} lora={card.file.name} {scales}\n```"
    yield f"{unit}The file notes from which step on it acts, and pairedit follows that."


def _training(card: Card, lora: LoraFile) -> Iterator[str]:
    """Write how the slider came to be."""
    notes = card.metadata
    if not notes:
        yield "The file does not say how it was trained."
        return
    config = mapping(notes.get("config"))
    said = {
        "program": f"pairedit {notes.get('version', '')}".strip() + f", after {PAPER}",
        "method": notes.get("method"),
        "steps": notes.get("step"),
        "rank": lora.rank,
        "learning rate": config.get("learning_rate"),
        "resolution": config.get("resolution"),
        "seed": config.get("seed"),
        "SHA-256 of the tensors": f"`{lora.sha256}`",
    }
    yield "\n".join(f"- {what}: {value}" for what, value in said.items() if value is not None)
    if merged := notes.get("merged"):
        names = ", ".join(str(mapping(part).get("file")) for part in merged)
        yield f"It is several sliders in one file: {names}."


def _licence(base: Known | None) -> Iterator[str]:
    """Say under which licence the base model stands, and what that means for the slider."""
    yield "## Licence"
    if base is None or base.licence is None:
        yield "The licence of the base model is not known here. A slider may have to follow it."
        return
    licence = base.licence
    if licence.free:
        yield (
            f"{_link(base)} is under the [{licence.title}]({licence.link}), which allows "
            "commercial use. This card names the same licence for the slider."
        )
        return
    yield (
        f"{_link(base)} is under the [{licence.title}]({licence.link}). It does not allow "
        "commercial use of the model. A slider is a work based on the model, so the same licence "
        "holds for it. Read it before you use the slider or pass it on."
    )
    yield licence.notice


def _link(base: Known) -> str:
    """Name a base model, with a link where it has a page."""
    if base.hub is None:
        return base.name
    return f"[{base.hub.split('/')[-1]}](https://huggingface.co/{base.hub})"

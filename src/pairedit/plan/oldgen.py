"""Own the half of a published YAML file that renders; see `plan.published`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pairedit.data.examples import pick_images
from pairedit.lora.file import inspect_lora
from pairedit.methods import SEMANTIC
from pairedit.plan.oldtrain import folders, image_folder, seeds_of, swept
from pairedit.plan.oldvalues import of_dataset
from pairedit.runs.words import listed, quoted


def _lora(old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Read which LoRA is rendered."""
    slider, trained = old.get("semantic_lora_path"), _trained(old)
    if "lora" in given:
        return {}
    if "image_ids" in old and slider is None:
        raise ValueError("no trained LoRA is named: add lora=PATH, as pairedit-train printed it")
    if slider is not None and trained and "image_ids" not in old:
        raise ValueError(
            "use_trained_lora_path=true: names a content LoRA, but no image_ids use it"
        )
    if slider is None and trained and len(trained) > 1:
        return {"lora": swept(trained)}
    if slider is None and trained:
        slider = trained[0]
    if slider is not None:
        return {"lora": quoted(slider)}
    # What pairedit-train makes of the same file.
    names = old.get("datasets", [])
    if "output_folder" not in old or not names or len(seeds_of(old)) * _noises(old) > 1:
        raise ValueError("no trained LoRA is named: add lora=PATH, as pairedit-train printed it")
    return {"lora": swept([_trained_here(old, name) for name in names])}


def _trained(old: Mapping[str, Any]) -> list[str]:
    """Read the LoRA that was trained before: a slider, or with image_ids the content LoRA."""
    if not old.get("use_trained_lora_path"):
        return []
    if "trained_lora_path" not in old:
        raise ValueError("use_trained_lora_path=true: trained_lora_path is missing")
    return old["trained_lora_path"]


def _noises(old: Mapping[str, Any]) -> int:
    """Count the noise scales that are trained with."""
    return len(old.get("noise_scales", [1]))


def _trained_here(old: Mapping[str, Any], name: Any) -> Path:
    """Say where pairedit-train puts the slider of a dataset."""
    return Path(old["output_folder"], str(name), f"{SEMANTIC}.safetensors")


def _photographs(
    old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Read which real images are edited, and how."""
    if "image_ids" not in old:
        return {}
    overrides = {"edit": "real_published"}
    if "semantic_cfg_scale" in old:
        overrides["semantic_cfg_scale"] = quoted(old["semantic_cfg_scale"])
    if "content_lora" not in given:
        trained = _trained(old)
        if not trained and "output_folder" not in old:
            raise ValueError("image_ids: add content_lora=PATH, as pairedit-train printed it")
        overrides["content_lora"] = listed(trained) if trained else quoted(old["output_folder"])
    if "image" not in given:
        images = pick_images(image_folder(old), old["image_ids"])
        overrides["image"] = listed(images.values())
    return overrides


def _words(old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Read the prompts: one for each dataset, or a file of them for each."""
    key, ours = ("prompt", "prompts")
    if old.get("use_prompts_file"):
        key, ours = ("prompts_file", "prompts_file")
        if key not in old:
            raise ValueError("use_prompts_file=true: prompts_file is missing")
    if key not in old or {"prompts", "prompts_file"} & set(given):
        return {}
    chosen = of_dataset(old[key], _index(old, given, key))
    more = len(old[key]) - max(len(old.get("datasets", [])), 1)
    if more > 0:
        notes.append(
            f"{key}: each dataset has one, so the last {more} of {len(old[key])} are not used"
        )
    if key == "prompt":
        return {ours: listed([chosen])}
    return {ours: quoted(chosen), "prompts_per_seed": "one"}


def _index(old: Mapping[str, Any], given: Mapping[str, str], key: str) -> int:
    """Say which dataset is rendered, as far as its prompt depends on that."""
    names = [str(name) for name in old.get("datasets", [])]
    if len({of_dataset(old[key], index) for index in range(max(len(names), 1))}) == 1:
        return 0
    lora = Path(given.get("lora", "").strip("'\""))
    about = {lora.parent.name}
    with suppress(ValueError):
        about.add(inspect_lora(lora).get("dataset"))
    for index, name in enumerate(names):
        if name in about:
            return index
    raise ValueError(
        f"{key}: there is one for each of {len(names)} datasets; render one at a time, with "
        f"lora=PATH of its slider, or say {'prompts' if key == 'prompt' else key}=..."
    )


def _rendering(
    old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Read seeds, scales and skips."""
    overrides = {}
    count = old.get("count_gen", 1)
    if old.get("use_random_seed"):
        overrides["seeds"] = f"{{random: {count}}}"
    elif "start_seed_gen" in old or "count_gen" in old:
        overrides["seeds"] = f"{{start: {old.get('start_seed_gen', 0)}, count: {count}}}"
    if "scales" in old:
        overrides["scales"] = listed(old["scales"])
    if "skips" in old:
        # That text-to-image sampler switches the LoRA on behind step k, its real one at step k.
        later = 0 if "image_ids" in old else 1
        overrides["skip"] = swept([skip + later for skip in old["skips"]])
    # As their samplers, whatever a file notes.
    overrides |= {"local": "false", "schedule": "flat", "flowedit": "false"}
    if "output_folder_gen" in old:
        overrides |= folders(old["output_folder_gen"])
    return overrides


GEN = (_lora, _photographs, _words, _rendering)

"""Own what a PNG says of its rendering: all that renders it again, see `plan.again`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairedit.legs import Slider
from pairedit.sample import Sample


def metadata(
    sample: Sample, sliders: Sequence[Slider], settings: Mapping[str, str]
) -> dict[str, str]:
    """Gather what renders one sample again, as text for its file.

    Args:
        sample: the image.
        sliders: the LoRAs it was rendered with.
        settings: what holds for the whole run.
    """
    lines = {
        "prompt": sample.prompt,
        **{key: str(value) for key, value in settings.items()},
    }
    if sample.seed is not None:
        lines["seed"] = str(sample.seed)
    lines["batch"] = json.dumps(_batch(sample, sliders))
    if sample.photo is not None:
        lines["image"] = str(sample.photo.path.resolve())
        if sample.photo.mask is not None:
            lines["mask"] = str(sample.photo.mask.path.resolve())
        if sample.photo.content is not None:
            lines["content_lora.path"] = str(Path(sample.photo.content.path).resolve())
            lines["content_lora.sha256"] = sample.photo.content.sha256
    for index, (slider, scale) in enumerate(zip(sliders, sample.scales, strict=True)):
        lines[f"lora.{index}.path"] = str(Path(slider.lora.path).resolve())
        lines[f"lora.{index}.sha256"] = slider.lora.sha256
        lines[f"lora.{index}.scale"] = repr(slider.unit * scale)
        if slider.skip is not None:
            lines[f"lora.{index}.skip"] = str(slider.skip)
        if slider.local:
            lines[f"lora.{index}.local"] = str(slider.local).lower()
        if slider.lean:
            lines[f"lora.{index}.schedule"] = repr(slider.lean)
        if slider.flowedit:
            lines[f"lora.{index}.flowedit"] = "true"
    return lines


def _batch(sample: Sample, sliders: Sequence[Slider]) -> dict[str, Any]:
    """Say what ran together with an image: the last digits of its row depend on it."""
    lanes = sample.beside
    masked = {bool(lane.photo.mask) for lane in lanes if lane.photo}
    if len(masked) > 1:  # a list of masks has one for each photograph: the image alone, then
        lanes = [lane for lane in lanes if lane.photo is sample.photo]
    photos = list({lane.photo.path: lane.photo for lane in lanes if lane.photo}.values())
    contents = [_path(photo.content.path) for photo in photos if photo.content]
    masks = [_path(photo.mask.path) for photo in photos if photo.mask]
    return {
        "lanes": [list(lane.key) for lane in lanes],
        "scales": [[slider.unit * scale for scale in slider.scales] for slider in sliders],
        **({"contents": contents} if contents else {}),
        **({"masks": masks} if masks else {}),
    }


def _path(path: Path) -> str:
    """Write a path so that it means the same from anywhere."""
    return str(Path(path).resolve())

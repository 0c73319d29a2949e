"""Own the header entries that other programs show: modelspec.*, ss_*, sshs_*.

What follows from our own metadata can be computed again, so that it changes with a calibration
while what somebody else wrote stays. Nothing here depends on a clock: equal runs end in equal
bytes, so there is no modelspec.date.
Source: Stability AI's ModelSpec 1.0.0; sd-scripts' entries, as Forge and Lora-Manager read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairedit.lora.names import Names
from pairedit.settings import Size

THUMBNAIL = "modelspec.thumbnail"  # a picture as a data URI
# Entries that stop being true when a LoRA is written anew: alpha is folded in, bytes differ.
STALE = ("lora_adapter_metadata", "sshs_legacy_hash")


def described(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries that follow from a LoRA's own metadata."""
    name, method = metadata.get("dataset"), metadata.get("method")
    found: dict[str, str] = {}
    if isinstance(name, str) and name:
        found |= {"modelspec.title": f"{name} slider", "ss_output_name": name}
    if isinstance(method, str) and method:
        found["modelspec.description"] = f"A slider trained by pairedit with method={method}."
    config = _mapping(metadata.get("config"))
    if size := size_of(config):
        found["modelspec.resolution"] = f"{size[1]}x{size[0]}"
    calibration = _mapping(metadata.get("calibration"))
    if _positive(calibration.get("scale")):
        found["lora_default_weight"] = f"{calibration['scale']:.4g}"
    if found and (hint := _hint(config, calibration)):
        found["modelspec.usage_hint"] = hint
    if found:
        found |= {
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.implementation": "diffusers",
            # A slider has no word that calls it.
            "modelspec.trigger_phrase": "",
        }
    return found


def size_of(config: Mapping[str, Any]) -> Size | None:
    """Return the height and width that a training's configuration names; None where it does not.

    Of pairs in their own shapes it is the square of their area.
    """
    side, asked = config.get("resolution"), config.get("size")
    sides = asked if isinstance(asked, list) and len(asked) == 2 else [side, side]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    width, height = sides
    return height, width


def of_file(metadata: Mapping[str, Any], names: Names, rank: int, checksum: str) -> dict[str, str]:
    """Return the entries that follow from the file itself, which nothing else may set.

    Args:
        metadata: the LoRA's own.
        names: of the base model, with what others call it.
        rank: of every module.
        checksum: of the tensors' bytes, as hexadecimal digits.
    """
    return {
        **names.labels.get(str(metadata.get("base_model")), {}),
        "ss_network_dim": str(rank),
        # Alpha is folded into the weights.
        "ss_network_alpha": str(float(rank)),
        "sshs_model_hash": checksum,
        "modelspec.hash_sha256": f"0x{checksum}",
    }


def merged(
    texts: Mapping[str, str], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, str]:
    """Return a header's entries when the LoRA's own metadata change.

    Args:
        texts: the entries as they are.
        before: the metadata that they were computed from.
        after: the new metadata.
    """
    old = described(before)
    foreign = {key: value for key, value in texts.items() if old.get(key) != value}
    return described(after) | foreign


def _skip(config: Mapping[str, Any], calibration: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return skip and steps of the calibration, or else those the base model is used with."""
    for skip, steps in (
        (calibration.get("skip"), calibration.get("num_inference_steps")),
        (_mapping(config.get("model")).get("skip"), config.get("num_inference_steps")),
    ):
        if isinstance(skip, int) and isinstance(steps, int) and 0 <= skip < steps:
            return skip, steps
    return None


def _hint(config: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    """Say how a slider is used, in whole sentences."""
    said = []
    if _positive(scale := calibration.get("scale")):
        said.append(
            f"Strength {scale:.2g} changes an image as much as one pair does{_of(calibration)}."
        )
        interval = calibration.get("interval")
        if isinstance(interval, list) and len(interval) == 2 and all(map(_positive, interval)):
            low, high = interval
            said.append(f"It was measured between {low:.2g} and {high:.2g}.")
        if calibration.get("flowedit") is True:
            said.append("This holds in pairedit, where it edits the finished picture.")
    if skip := _skip(config, calibration):
        said.append(f"The first {skip[0]} of {skip[1]} steps run without it.")
    return " ".join(said)


def _of(calibration: Mapping[str, Any]) -> str:
    """Say of how few people a calibration was read, where no interval says how sure it is."""
    people = calibration.get("people")
    if "error" in calibration or not isinstance(people, int):
        return ""
    return f" (from {people} {'person' if people == 1 else 'people'})"


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is; an empty one for anything else, as a stranger may write."""
    return value if isinstance(value, Mapping) else {}


def _positive(value: Any) -> bool:
    """Say whether a value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0

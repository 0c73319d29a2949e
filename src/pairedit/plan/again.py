"""Own `again=image.png`: what renders an image once more, from what its file says.

Words behind it change what they name. With none the image is rendered among the same others as
before, since the last digits of a row depend on those that run beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairedit.edits import Key
from pairedit.files import CONF, expand_home, near_path
from pairedit.lora.header import checksum_of
from pairedit.pictures.png import read_metadata
from pairedit.runs.resume import AGAIN
from pairedit.runs.words import key_of, listed, quoted

# What an image says of its run, under the names of the keys.
NUMBERS = (
    *("num_inference_steps", "guidance_scale", "resolution", "size", "negative_prompt"),
    *("skip", "precision"),
)
PHOTOS = ("inversion", "iterations", "semantic_cfg_scale")
MACHINE = ("device", "hardware", "hydra", "batch_size")  # begin keys that change no image's meaning


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Hold what ran together, and which of it is the image."""

    path: Path  # of the image
    lanes: Sequence[Key]
    lane: Key
    scales: tuple[float, ...]  # of each slider

    def wants(self, prompt: str, seed: int | None, photo: Path | None, scales: Any) -> bool:
        """Say whether a rendered image is the one."""
        place = None if photo is None else str(photo.resolve())
        return (prompt, seed, place) == self.lane and tuple(scales) == self.scales


def expand_again(words: Sequence[str], notes: list[str]) -> list[str]:
    """Replace the word `again=IMAGE` of pairedit-gen by what the image says.

    Args:
        words: the command line without the program.
        notes: receives what is not as it was.

    Returns:
        The words; `again` stays where nothing is changed, so that the pixels can be compared.

    Raises:
        ValueError: the file says nothing, or names what is not there.
    """
    asked = [word for word in words if word.startswith(AGAIN)]
    if not asked or asked[-1].removeprefix(AGAIN) in ("", "null"):
        return list(words)
    others = [word for word in words if word not in asked]
    path = expand_home(asked[-1].removeprefix(AGAIN).strip("'\""))
    said = read_settings(path)
    given = {key_of(word) for word in others}
    found = _words(said, set(), exact=True)
    changes = [word for word in others if _changes(word, found)]
    found = _words(said, given, exact=not changes)
    for lora in _loras(said) if "lora" not in given else ():
        _check(lora["path"], lora["sha256"], notes)
    if "content_lora.path" in said and "content_lora" not in given:
        _check(said["content_lora.path"], said["content_lora.sha256"], notes)
    kept = [] if changes else [f"{AGAIN}{quoted(path.resolve())}"]
    return [*(f"{key}={value}" for key, value in found.items()), *others, *kept]


def _changes(word: str, found: Mapping[str, str]) -> bool:
    """Say whether a word asks for something else than an image says."""
    key, equals, value = word.partition("=")
    if not equals or re.match(rf"-|[+~]*({'|'.join(MACHINE)})\b", word):
        return False
    return found.get(key, "").strip("'\"") != value.strip("'\"")


def read_settings(path: Path) -> dict[str, str]:
    """Read what an image of pairedit-gen says.

    Raises:
        ValueError: it says nothing.
    """
    if not path.is_file():
        raise ValueError(f"again={path}: no such image{near_path(path)}")
    said = read_metadata(path)
    missing = [name for name in ("prompt", "model", "num_inference_steps") if name not in said]
    if missing:
        raise ValueError(
            f"again={path}: does not say how it was rendered; expected a PNG from the folder "
            "images/ of pairedit-gen"
        )
    return said


def read_batch(path: Path) -> Batch:
    """Read what ran together with an image; where the file does not say it, the image alone."""
    said = read_settings(path)
    lane = _lane(said)
    batch = _batch(said)
    lanes = [tuple(entry) for entry in batch.get("lanes", [])] or [lane]
    scales = tuple(float(entry["scale"]) for entry in _loras(said))
    return Batch(path=path, lanes=lanes, lane=lane, scales=scales)


def _words(said: Mapping[str, str], given: set[str], *, exact: bool) -> dict[str, str]:
    """Write what an image says as overrides, without what is given anew."""
    batch = _batch(said) if exact else {}
    lanes = [tuple(entry) for entry in batch.get("lanes", [])] or [_lane(said)]
    found = _model(said, given)
    found |= {key: said[key] for key in NUMBERS if key in said}
    if "negative_prompt" in found:
        found["negative_prompt"] = quoted(found["negative_prompt"])
    found["guidance_scale"] = said["guidance_scale"].replace("None", "null")
    found["prompts"] = listed(dict.fromkeys(prompt for prompt, _, _ in lanes))
    if seeds := list(dict.fromkeys(seed for _, seed, _ in lanes if seed is not None)):
        found["seeds"] = listed(seeds)
    if exact and "together" in said:
        found["batch_size"] = said["together"]
    if "image" in said:
        found |= _photographs(said, lanes, batch, given)
    if "lora" not in given:
        found |= _lora(said, batch, given)
    elif "lora.0.scale" in said and "scales" not in given:
        found["scales"] = f"[{said['lora.0.scale']}]"
    if "prompts_file" in given:
        found.pop("prompts", None)
    return {key: value for key, value in found.items() if key not in given}


def _model(said: Mapping[str, str], given: set[str]) -> dict[str, str]:
    """Name the base model, and its folder unless another model is given."""
    name = said["model"]
    found = {"model": name} if (CONF / f"model/{name}.yaml").is_file() else {}
    if "model" not in given:
        found["model.path"] = quoted(said["model_path"])
        if "max_tokens" in said:
            found["model.max_sequence_length"] = said["max_tokens"]
    return found


def _photographs(
    said: Mapping[str, str],
    lanes: Sequence[Key],
    batch: Mapping[str, Any],
    given: set[str],
) -> dict[str, str]:
    """Name the photographs of a batch, their content LoRAs, and how they were edited."""
    edit = "real_published" if said.get("published") == "True" else "real"
    paths = list(dict.fromkeys(photo for _, _, photo in lanes))
    found = {"edit": edit, "image": listed(paths)}
    found |= {key: said[key] for key in PHOTOS if key in said}
    contents = batch.get("contents") or (
        [said["content_lora.path"]] if "content_lora.path" in said else []
    )
    if contents and "content_lora" not in given:
        found["content_lora"] = listed(contents)
    if "mask" in said:
        found["mask"] = listed(batch.get("masks") or [said["mask"]])
    return found


def _lora(said: Mapping[str, str], batch: Mapping[str, Any], given: set[str]) -> dict[str, str]:
    """Name the LoRAs, each with its scales and its use."""
    entries = []
    for index, lora in enumerate(_loras(said)):
        columns = batch["scales"][index] if "scales" in batch else [float(lora["scale"])]
        entry = [f"path: {quoted(lora['path'])}"]
        if "scales" not in given:
            entry.append(f"scales: {listed(columns)}")
        # What a file notes today may be another use: the image's own is said for each.
        uses = {
            "skip": lora.get("skip", said["skip"]),
            "local": lora.get("local", "false"),
            "schedule": lora.get("schedule", "0.0"),
            "flowedit": lora.get("flowedit", "false"),
        }
        entry += [f"{key}: {value}" for key, value in uses.items() if key not in given]
        entries.append(f"{{{', '.join(entry)}}}")
    return {"lora": f"[{', '.join(entries)}]"} if entries else {}


def _loras(said: Mapping[str, str]) -> list[dict[str, str]]:
    """Return what an image says of each LoRA, by the last part of its entries."""
    found: dict[int, dict[str, str]] = {}
    for key, value in said.items():
        if match := re.fullmatch(r"lora\.(\d+)\.(\w+)", key):
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [found[index] for index in sorted(found)]


def _lane(said: Mapping[str, str]) -> Key:
    """Return the lane of the image itself."""
    seed = said.get("seed")
    return said["prompt"], None if seed is None else int(seed), said.get("image")


def _batch(said: Mapping[str, str]) -> dict[str, Any]:
    """Read what ran together; empty where an older image does not say."""
    try:
        return dict(json.loads(said.get("batch", "{}")))
    except (ValueError, TypeError):
        return {}


def _check(path: str, checksum: str, notes: list[str]) -> None:
    """Say so where a LoRA is not the file that the image was rendered with.

    Raises:
        ValueError: it is not there.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{path}: is gone; name the LoRA with lora= or content_lora=")
    if checksum_of(file) != checksum:
        notes.append(f"{path}: its weights have changed since the image was rendered")

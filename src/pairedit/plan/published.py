"""Own the YAML files of the published code: `old=train_image.yaml` becomes overrides of ours.

One old file holds a training and a rendering; each command takes its half. Words of the command
line win over the file. What cannot be honoured is refused, all of it at once: no key is dropped in
silence. docs/files.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pairedit.data.examples import pick_images
from pairedit.files import expand_home

WORD = "old="
# They name a script and a configuration; which of the two trainings is meant, image_ids tells.
LABELS = ("python_name", "config_name")
SHARED = ("device", "pretrained_model_name_or_path", "num_inference_steps", "guidance_scale")
TRAIN = (
    *("datasets_folder", "datasets", "source_folder", "target_folder", "image_ids"),
    *("start_step", "end_step", "cfg_eta", "noise_scales", "train_iteration", "save_per_steps"),
    *("train_start", "train_count", "output_folder", "train_method"),
)
GEN = (
    *("use_trained_lora_path", "trained_lora_path", "semantic_lora_path", "semantic_cfg_scale"),
    *("use_prompts_file", "prompts_file", "prompt", "use_random_seed", "start_seed_gen"),
    *("count_gen", "scales", "skips", "output_folder_gen"),
)
KEYS = (*LABELS, *SHARED, *TRAIN, *GEN)
WHOLE = (
    *("train_iteration", "save_per_steps", "train_start", "train_count"),
    *("start_seed_gen", "count_gen", "skips"),
)


def expand(command: str, words: Sequence[str]) -> list[str]:
    """Replace the word `old=FILE` of a command line by what the file says.

    Args:
        command: train or gen; other commands keep their words.
        words: the command line without the program.

    Returns:
        The words, with -m in front where the file asks for several runs.

    Raises:
        ValueError: lists every key and value of the file that cannot be honoured.
    """
    named = [word for word in words if word.startswith(WORD)]
    if not named or command not in ("train", "gen"):
        return list(words)
    kept = [word for word in words if word not in named]
    path = expand_home(named[-1].removeprefix(WORD).strip("'\""))
    overrides = translate(command, _read(path), str(path), [_key(word) for word in kept])
    several = any(re.search(r"^[\w.]+=[^\[{'\"]*,", override) for override in overrides)
    flag = ["-m"] if several and not {"-m", "--multirun"} & set(kept) else []
    return [*flag, *overrides, *kept]


def translate(
    command: str, old: Mapping[str, Any], name: str, given: Sequence[str] = ()
) -> list[str]:
    """Write one half of an old file as overrides.

    Args:
        command: train or gen.
        old: the file's content.
        name: of the file, for messages.
        given: keys of ours that the command line sets; they win.

    Raises:
        ValueError: lists every problem.
    """
    problems = [f"{key}: no key of the published files" for key in old if key not in KEYS]
    old = {key: value for key, value in old.items() if value is not None and key in KEYS}
    for key in WHOLE:
        if not all(type(value) is int for value in _many(old.get(key))):
            problems.append(f"{key}={old.pop(key)}: expected whole numbers")
    overrides: dict[str, str] = {}
    half = _train if command == "train" else _gen
    # Each part is read on its own, so that one problem hides no other.
    for part in (_shared, *half):
        try:
            overrides |= part(old, given)
        except ValueError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise ValueError(f"{name}: {problems[0]}")
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise ValueError(f"{name}: {len(problems)} problems with the old file:{lines}")
    return [f"{key}={value}" for key, value in overrides.items() if key not in given]


def _shared(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Read device and model."""
    overrides = _copied(old, {key: key for key in ("num_inference_steps", "guidance_scale")})
    path = old.get("pretrained_model_name_or_path")
    if path is not None and "model" not in given:
        kind = "schnell" if "schnell" in str(path) else "dev"
        overrides["model"] = "flux-mini" if "flux_mini" in str(path) else f"flux-{kind}"
        overrides["model.path"] = _quoted(path)
    if "device" in old:
        device, _, number = str(old["device"]).partition(":")
        if number not in ("", "0"):
            raise ValueError(
                f"device={old['device']}: use device: {device} with CUDA_VISIBLE_DEVICES={number}"
            )
        overrides["device"] = _quoted(device)
    return overrides


def _data(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Read what is learnt from: pairs by dataset, or real images by id."""
    if {"dataset", "pairs"} & set(given):
        return {}
    root, names = _datasets(old)
    if old.get("image_ids"):
        return {
            "method": "inversion",
            "dataset": "real",
            "datasets.real.folder": _quoted(_image_folder(old)),
            "image_ids": _listed(old["image_ids"]),
        }
    sides = {side: _quoted(old.get(f"{side}_folder", side)) for side in ("source", "target")}
    first, *others = names
    overrides = {
        "dataset": "folder",
        "pairs": _quoted(root / str(first)),
        "datasets.folder.name": _quoted(first),
        **{f"datasets.folder.{side}": folder for side, folder in sides.items()},
    }
    for name in others:
        overrides[f"+datasets.{re.sub(r'[^a-zA-Z0-9]', '_', str(name))}"] = (
            f"{{_target_: pairedit.data.sets.Dataset, name: {_quoted(name)}, "
            f"folder: {_quoted(root / str(name))}, "
            f"source: {sides['source']}, target: {sides['target']}}}"
        )
    return overrides


def _datasets(old: Mapping[str, Any]) -> tuple[Path, list[Any]]:
    """Read the folder of all datasets and the names of those meant."""
    names = _many(old.get("datasets"))
    if not names:
        raise ValueError("datasets: expected the name of at least one folder of datasets_folder")
    return Path(str(old.get("datasets_folder", "."))), names


def _image_folder(old: Mapping[str, Any]) -> Path:
    """Name the folder that image_ids are in."""
    root, names = _datasets(old)
    if len(names) > 1:
        raise ValueError(f"datasets={names}: image_ids belong to one folder")
    return root / str(names[0]) / str(old.get("source_folder", ""))


def _training(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Read the numbers of a training."""
    overrides = _copied(
        old,
        {"start_step": "start_step", "cfg_eta": "cfg_eta", "train_iteration": "steps"},
    )
    # The old loop drew below it, ours up to it.
    if "end_step" in old and old["end_step"] != old.get("num_inference_steps"):
        overrides["end_step"] = _quoted(old["end_step"])
    if "noise_scales" in old:
        overrides["noise_scale"] = _swept(old["noise_scales"])
    if "save_per_steps" in old:
        every, steps = old["save_per_steps"], old.get("train_iteration", 500)
        if every <= steps:
            overrides |= {"save_every": _quoted(every), "snapshots": "true"}
    first, count = old.get("train_start", 0), old.get("train_count", 1)
    if count < 1:
        raise ValueError(f"train_count={count}: nothing to train")
    overrides["seed"] = _swept(list(range(first, first + count)))
    if "output_folder" in old:
        overrides |= _folders(old["output_folder"])
    return overrides


def _placement(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Read which modules are trained."""
    method = old.get("train_method", "xattn")
    if method != "xattn" and "lora.targets" not in given:
        raise ValueError(f"train_method={method}: only xattn is read; say it as lora.targets=...")
    return {}


def _trained_before(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Refuse to train on top of a LoRA."""
    if old.get("use_trained_lora_path"):
        raise ValueError(
            "use_trained_lora_path=true: names a LoRA that is trained already; "
            "render it by pairedit-gen with this file"
        )
    return {}


def _lora(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Read which LoRA is rendered."""
    overrides = {}
    path = old.get("semantic_lora_path")
    if old.get("use_trained_lora_path"):
        path = old.get("trained_lora_path")
    if path is None and "lora" not in given:
        raise ValueError("no trained LoRA is named: add lora=PATH, as pairedit-train printed it")
    if path is not None:
        overrides["lora"] = _quoted(path)
    return overrides


def _photographs(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Read which real images are edited, and how."""
    if not old.get("image_ids"):
        return {}
    overrides = {
        "edit": "real_published",
        **_copied(old, {"semantic_cfg_scale": "semantic_cfg_scale"}),
    }
    if "content_lora" not in given:
        if "output_folder" not in old:
            raise ValueError("image_ids: add content_lora=PATH, as pairedit-train printed it")
        overrides["content_lora"] = _quoted(old["output_folder"])
    if "image" not in given:
        images = pick_images(_image_folder(old), _many(old["image_ids"]))
        overrides["image"] = _listed([str(path) for path in images.values()])
    return overrides


def _rendering(old: Mapping[str, Any], given: Sequence[str]) -> dict[str, str]:
    """Read prompts, seeds, scales and skips."""
    overrides = {}
    if old.get("use_prompts_file"):
        if "prompts_file" not in old:
            raise ValueError("use_prompts_file=true: prompts_file is missing")
        overrides["prompts_file"] = _quoted(old["prompts_file"])
        overrides["prompts_per_seed"] = "one"
    elif "prompt" in old:
        overrides["prompts"] = f"[{_quoted(str(old['prompt']))}]"
    count = old.get("count_gen", 1)
    if old.get("use_random_seed"):
        overrides["seeds"] = f"{{random: {count}}}"
    elif "start_seed_gen" in old or "count_gen" in old:
        overrides["seeds"] = f"{{start: {old.get('start_seed_gen', 0)}, count: {count}}}"
    if "scales" in old:
        overrides["scales"] = _listed(old["scales"])
    if "skips" in old:
        # That text-to-image sampler switches the LoRA on behind step k, its real one at step k.
        later = 0 if old.get("image_ids") else 1
        overrides["skip"] = _swept([skip + later for skip in _many(old["skips"])])
    if "output_folder_gen" in old:
        overrides |= _folders(old["output_folder_gen"])
    return overrides


_train = (_data, _training, _placement, _trained_before)
_gen = (_lora, _photographs, _rendering)


def _read(path: Path) -> Mapping[str, Any]:
    """Read an old file.

    Raises:
        ValueError: names the file and why it cannot be read.
    """
    try:
        old = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"old={path}: {(error.strerror or str(error)).lower()}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"old={path}: not a YAML file ({str(error).splitlines()[0]})") from error
    if not isinstance(old, Mapping):
        raise ValueError(f"old={path}: expected keys with values")
    return old


def _key(word: str) -> str:
    """Return the key that a word of the command line sets."""
    return word.lstrip("+~").split("=", 1)[0]


def _copied(old: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Take values over under our names."""
    return {ours: _quoted(old[key]) for key, ours in names.items() if key in old}


def _folders(path: Any) -> dict[str, str]:
    """Name the folder of one run or of several."""
    return {"hydra.run.dir": _quoted(path), "hydra.sweep.dir": _quoted(path)}


def _many(value: Any) -> list[Any]:
    """Return a list, whether one was given or a single value."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _listed(value: Any) -> str:
    """Write a list."""
    return f"[{','.join(map(_quoted, _many(value)))}]"


def _swept(value: Any) -> str:
    """Write one value, or several as a sweep."""
    return ",".join(map(_quoted, _many(value)))


def _quoted(value: Any) -> str:
    """Write a value so that Hydra reads it back."""
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

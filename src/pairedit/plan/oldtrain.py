"""Own the half of a published YAML file that trains; see `plan.published`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairedit.runs.words import listed, quoted

FULL = "full"  # the published code's name for the attention projections


def datasets_of(old: Mapping[str, Any]) -> tuple[Path, list[Any]]:
    """Read the folder of all datasets and the names of those meant."""
    names = old.get("datasets")
    if not names:
        raise ValueError("datasets: expected the name of at least one folder of datasets_folder")
    return Path(old.get("datasets_folder", ".")), names


def image_folder(old: Mapping[str, Any]) -> Path:
    """Name the folder that image_ids are in."""
    root, names = datasets_of(old)
    if len(names) > 1:
        raise ValueError(f"datasets={names}: image_ids belong to one folder")
    return root / str(names[0]) / old.get("source_folder", "")


def folders(path: str) -> dict[str, str]:
    """Name the folder of one run or of several."""
    return {"hydra.run.dir": quoted(path), "hydra.sweep.dir": quoted(path)}


def swept(values: Sequence[Any]) -> str:
    """Write one value, or several as a sweep."""
    return ",".join(map(quoted, values))


def seeds_of(old: Mapping[str, Any]) -> list[int]:
    """List the seeds of the trainings that a file asks for."""
    first, count = old.get("train_start", 0), old.get("train_count", 1)
    if count < 1:
        raise ValueError(f"train_count={count}: nothing to train")
    return list(range(first, first + count))


def _data(old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Read what is learnt from: pairs by dataset, or real images by id."""
    if {"dataset", "pairs", "images"} & set(given):
        return {}
    root, names = datasets_of(old)
    if "image_ids" in old:
        return {
            "method": "inversion",
            "dataset": "real",
            "datasets.real.folder": quoted(image_folder(old)),
            "image_ids": listed(old["image_ids"]),
        }
    sides = {side: quoted(old.get(f"{side}_folder", side)) for side in ("source", "target")}
    first, *others = names
    overrides = {
        "dataset": "folder",
        "pairs": quoted(root / str(first)),
        "datasets.folder.name": quoted(str(first)),
        **{f"datasets.folder.{side}": folder for side, folder in sides.items()},
    }
    for name in others:
        overrides[f"+datasets.{re.sub(r'[^a-zA-Z0-9]', '_', str(name))}"] = (
            f"{{_target_: pairedit.data.sets.Dataset, name: {quoted(str(name))}, "
            f"folder: {quoted(root / str(name))}, "
            f"source: {sides['source']}, target: {sides['target']}}}"
        )
    return overrides


def _training(old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Read the numbers of a training."""
    same = {"start_step": "start_step", "cfg_eta": "cfg_eta", "train_iteration": "steps"}
    overrides = {ours: quoted(old[key]) for key, ours in same.items() if key in old}
    # The old loop drew below it, ours up to it.
    if "end_step" in old and old["end_step"] != old.get("num_inference_steps"):
        overrides["end_step"] = quoted(old["end_step"])
    if "noise_scales" in old:
        overrides["noise_scale"] = swept(old["noise_scales"])
    every, steps = old.get("save_per_steps"), old.get("train_iteration", 500)
    if every is not None and every <= steps:
        overrides |= {"save_every": quoted(every), "snapshots": "true"}
    overrides["seed"] = swept(seeds_of(old))
    if "image_ids" not in old:
        overrides["method"] = "full"
    if "output_folder" in old:
        overrides |= folders(old["output_folder"])
    return overrides


def _placement(
    old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Read which modules are trained."""
    method = old.get("train_method", FULL)
    if method != FULL and "lora.targets" not in given:
        raise ValueError(
            f"train_method={method}: only full is known, which is lora.targets=attention here; "
            "name the modules with lora.targets=..."
        )
    return {}


def _trained_before(
    old: Mapping[str, Any], given: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Refuse to train on top of a LoRA."""
    if old.get("use_trained_lora_path"):
        raise ValueError(
            "use_trained_lora_path=true: names a LoRA that is trained already; "
            "pairedit-gen renders it, with this file"
        )
    return {}


TRAIN = (_data, _training, _placement, _trained_before)

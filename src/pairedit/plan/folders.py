"""Own which option of `conf/model` reads a model folder, by what its model_index.json says."""

from __future__ import annotations

import importlib
import json
from typing import Any

import yaml

from pairedit.files import CONF, locate


def other_kind(model: Any) -> str | None:
    """Say which option reads the folder of a model whose own class does not; None where it does.

    A folder without a readable index is the model's own to judge.
    """
    try:
        kind = json.loads((locate(model.path) / "model_index.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(kind, str) or not model.pipeline or kind == model.pipeline:
        return None
    fitting = [name for name, pipeline in options().items() if pipeline == kind]
    expected = f"expected model={' or '.join(fitting)} with it" if fitting else "no model= reads it"
    return f"holds a {kind}, which model={model.name} cannot read; {expected}"


def options() -> dict[str, str]:
    """Return the pipeline that each option of `conf/model` reads, by the option's name."""
    found = {}
    for path in sorted((CONF / "model").glob("*.yaml"), key=lambda path: path.stem):
        target = yaml.safe_load(path.read_text(encoding="utf-8"))["_target_"]
        module, _, name = target.rpartition(".")
        found[path.stem] = getattr(importlib.import_module(module), name).pipeline
    return found

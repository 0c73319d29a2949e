"""Own how one member of a config group becomes an object of checked types."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import re
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pairedit.problems import Invalid
from pairedit.runs.words import as_one_text

# What OmegaConf says about a type, and what a user reads.
WANTED = {
    "could not be converted to Integer": "expected a whole number",
    "could not be converted to Float": "expected a number",
    "is not a valid bool": "expected true or false",
    "to string": "expected text",
    "is not a ListConfig": "expected a list, such as [1,2]",
    "Cannot merge DictConfig with ListConfig": "expected a list instead of keys, or the reverse",
    "Invalid type assigned": "holds keys of its own; set one of those",
    "is not Optional": "expected a value",
}

T = TypeVar("T")


def build(node: Any, key: str, kind: type[T]) -> T:
    """Make one member of a config group, its fields converted to the types they declare.

    Hydra alone would let `eta=abc` through.

    Args:
        node: the group's config, with `_target_`.
        key: its name in messages.
        kind: the class or runtime-checkable protocol it must be.

    Raises:
        ValueError: names every key and what is wrong.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ValueError(f"{key}={node}: expected the name of an option")
    try:
        values = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"{key}: {reason(error)}") from error
    built = _make(values, OmegaConf.to_container(node, resolve=False), key)
    if not isinstance(built, kind):
        raise ValueError(f"{key}: {type(built).__name__} is no {kind.__name__}")
    return built


def written(part: Any, key: str) -> dict[str, Any]:
    """Write an object as the config that `build` makes it from.

    Raises:
        ValueError: no config can: it is no dataclass, or its class lies inside of a function.
    """
    kind = type(part)
    if not dataclasses.is_dataclass(part) or "." in kind.__qualname__:
        raise ValueError(
            f"{key}={part!r}: expected the name of an option, or an object whose class is a "
            "dataclass at the top of a module or notebook"
        )
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.init}
    nested = {
        name: written(value, f"{key}.{name}") if dataclasses.is_dataclass(value) else value
        for name, value in values.items()
    }
    return {"_target_": f"{kind.__module__}.{kind.__qualname__}", **nested}


def _make(values: Mapping[str, Any], raw: Mapping[str, Any], key: str) -> Any:
    """Call what `_target_` names with the other values, which may be such mappings themselves.

    Args:
        values: with `_target_`.
        raw: the same before interpolation: says which key a value comes from.
        key: of the mapping.

    Raises:
        ValueError: names every key and what is wrong.
    """
    target = _find(values["_target_"], key)
    hints = typing.get_type_hints(target) if dataclasses.is_dataclass(target) else {}
    names = keys_in(raw, key)
    arguments, problems = {}, []
    for name, value in values.items():
        if name == "_target_":
            continue
        try:
            if isinstance(value, Mapping) and "_target_" in value:
                value = _make(value, raw[name], f"{key}.{name}")
            arguments[name] = _as_declared(value, names[name], hints.get(name, Any))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    try:
        return target(**arguments)
    except Invalid as error:
        raise ValueError(
            "; ".join(error.lines({field: f"{key}.{field}" for field in error.wrong} | names))
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key}: {reason(error)}") from error


def keys_in(raw: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return the key that each field of a mapping comes from.

    Args:
        raw: the mapping before interpolation.
        key: its own.
    """
    return {name: _origin(value) or f"{key}.{name}" for name, value in raw.items()}


def _origin(raw: Any) -> str | None:
    """Return the key that a value is taken from, if it is one: `${cfg_eta}` is cfg_eta's."""
    found = re.fullmatch(r"\$\{([a-z_][a-z_.]*)\}", raw) if isinstance(raw, str) else None
    return found and found[1]


def _find(path: Any, key: str) -> Any:
    """Import the class that `_target_` names, of this package or of the user's own.

    Raises:
        ValueError: names it, with the error of its own module.
    """
    module, _, name = str(path).rpartition(".")
    try:
        found = importlib.import_module(module)
        return getattr(found, name)
    except AttributeError as error:
        near = difflib.get_close_matches(name, vars(found), n=3)
        more = f"; near it: {', '.join(near)}" if near else ""
        raise ValueError(f"{key}._target_={path}: {module} has no {name}{more}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{key}._target_={path}: cannot be imported ({what})") from error


def reason(error: BaseException | str) -> str:
    """Say what is wrong with a value where OmegaConf complains; else the error's first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return next((plain for theirs, plain in WANTED.items() if theirs in lines[0]), lines[0])


def _as_declared(value: Any, name: str, hint: Any) -> Any:
    """Return one field's value as the type it declares."""
    if isinstance(hint, type) and getattr(hint, "_is_protocol", False):
        if not isinstance(value, hint):
            raise ValueError(f"{name}={value}: expected a {hint.__name__}")
        return value
    if dataclasses.is_dataclass(value):
        return value
    shape = dataclasses.make_dataclass("Shape", [("value", hint)])
    try:
        return OmegaConf.to_container(OmegaConf.structured(shape(value)))["value"]
    except OmegaConfBaseException as error:
        said = reason(error)
        if isinstance(value, list) and said == WANTED["to string"]:
            said += f"; for one text with commas write {as_one_text(name, value)}"
        raise ValueError(f"{name}={value}: {said}") from error

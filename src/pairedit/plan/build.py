"""Own how one member of a config group becomes an object of checked types."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# What OmegaConf says about a type, and what a user reads.
WANTED = {
    "could not be converted to Integer": "expected a whole number",
    "could not be converted to Float": "expected a number",
    "is not a valid bool": "expected true or false",
    "to string": "expected text",
    "is not a ListConfig": "expected a list, such as [1,2]",
    "Cannot merge DictConfig with ListConfig": "a list where keys belong, or keys for a list",
    "Invalid type assigned": "holds keys of its own; set one of those",
    "is not Optional": "expected a value",
}

T = TypeVar("T")


def build(node: Any, key: str, kind: type[T]) -> T:
    """Instantiate one member of a config group and check the types of its fields.

    Hydra alone would let `eta=abc` through.

    Args:
        node: the group's config, with `_target_`.
        key: its name in messages.
        kind: the class or runtime-checkable protocol it must be.

    Returns:
        The instance, its fields converted to their declared types.

    Raises:
        ValueError: names the key and what is wrong.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise ValueError(f"{key}={node}: expected the name of an option")
    try:
        built = instantiate(node, _convert_="all")
    except (InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        raise ValueError(f"{key}: {reason(cause)}") from error
    if not isinstance(built, kind):
        raise ValueError(f"{key}: {type(built).__name__} is no {kind.__name__}")
    return _typed(built, key)


def reason(error: BaseException | str) -> str:
    """Say what is wrong with a value where OmegaConf complains; else the error's first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return next((plain for theirs, plain in WANTED.items() if theirs in lines[0]), lines[0])


def _typed(value: T, key: str) -> T:
    """Return a copy of a dataclass whose fields have the types they declare.

    Raises:
        ValueError: names every field that does not.
    """
    if not dataclasses.is_dataclass(value):
        return value
    hints = typing.get_type_hints(type(value))
    changes, problems = {}, []
    for part in dataclasses.fields(value):
        if not part.init:
            continue
        current = getattr(value, part.name)
        try:
            changes[part.name] = _as_declared(current, f"{key}.{part.name}", hints[part.name])
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return dataclasses.replace(value, **changes)


def _as_declared(value: Any, name: str, hint: Any) -> Any:
    """Return one field's value as the type it declares."""
    if isinstance(hint, type) and getattr(hint, "_is_protocol", False):
        if not isinstance(value, hint):
            raise ValueError(f"{name}={value}: expected a {hint.__name__}")
        return _typed(value, name)
    shape = dataclasses.make_dataclass("Shape", [("value", hint)])
    try:
        return OmegaConf.to_container(OmegaConf.structured(shape(value)))["value"]
    except OmegaConfBaseException as error:
        raise ValueError(f"{name}={value}: {reason(error)}") from error

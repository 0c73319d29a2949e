"""The modules of the package, as their source says: what they import, how long functions are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "pairedit"


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package by its name without `pairedit.`."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in paths}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def when_run(node: ast.AST) -> Iterator[ast.AST]:
    """Walk over what runs: all but what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from when_run(child)


def outer(name: str) -> set[str]:
    """Return the packages besides ours that a module imports, at any time."""
    found = set()
    for node in when_run(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found - {"pairedit"}


@cache
def imports(name: str) -> frozenset[str]:
    """Return the modules of the package that a module imports, be it inside of a function."""
    found = set()
    for node in when_run(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("pairedit.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            within = node.module.removeprefix("pairedit").removeprefix(".")
            found |= {f"{within}.{alias.name}".removeprefix(".") for alias in node.names} | {within}
    return frozenset(found & set(modules()))


def lazy(name: str, other: str) -> bool:
    """Say whether a module of a base imports one of its own folder, but not when it is read."""
    at_once = {node.module for node in tree(name).body if isinstance(node, ast.ImportFrom)}
    own = room(name) == "bases" and name.rsplit(".", 1)[0] == other.rsplit(".", 1)[0]
    return own and f"pairedit.{other}" not in at_once


def arrows() -> list[tuple[str, str]]:
    return [(name, other) for name in modules() for other in sorted(imports(name))]


def room(name: str) -> str:
    return name.split(".")[0]


def matching(words: str) -> list[str]:
    """Return the modules that patterns such as plan.* mean."""
    found = []
    for word in words.split():
        pattern = re.compile(re.escape(word).replace(r"\*", r"\w+"))
        named = [name for name in modules() if pattern.fullmatch(name)]
        assert named, f"{word}: no such module"
        found += named
    return found


def functions(name: str) -> Iterator[tuple[str, int]]:
    """Yield the functions of a module with their lengths in lines."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1

"""Own where files lie and how they are replaced: `pkg://` paths, atomic writing, YAML and JSON."""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from pairedit.problems import nearest

PACKAGE = Path(__file__).parent
# In a wheel conf/ and data/ lie inside the package, in a checkout beside src/.
ROOT = inside if (inside := PACKAGE / "shipped").is_dir() else PACKAGE.parents[1]
CONF = ROOT / "conf"
SHIPPED = "pkg://"
MOST_NAMES = 5000  # of a folder, that are compared with a mistyped one


def locate(path: str) -> Path:
    """Turn a configured path into a real one; pkg:// stands for what ships with pairedit."""
    if path.startswith(SHIPPED):
        name = path.removeprefix(SHIPPED)
        inside = PACKAGE / name
        return inside if inside.exists() else ROOT / name
    return expand_home(path)


def expand_home(path: str | Path) -> Path:
    """Turn a leading ~ into the home folder; that of a user nobody knows stays as it is."""
    # Not Path.expanduser, which raises for such a user.
    return Path(os.path.expanduser(path))


def near_path(path: Path) -> str:
    """Write the end of a message on a missing path: the one that was probably meant, or nothing."""
    if path.exists():  # it is of another kind
        return ""
    there = next((parent for parent in path.parents if parent.is_dir()), None)
    meant = there and (_near(there, path.relative_to(there).parts) or _deeper(path))
    return f"; did you mean {meant}?" if meant else ""


def _near(folder: Path, parts: Sequence[str]) -> Path | None:
    """Follow parts of a path, each of which may be mistyped or lack its suffix."""
    for part in parts:
        names = _names(folder)
        by_stem = {} if Path(part).suffix else {Path(name).stem: name for name in names}
        found = nearest(part, names) or by_stem.get(nearest(part, by_stem) or "")
        if found is None:
            return None
        folder /= found
    return folder


def _deeper(path: Path) -> Path | None:
    """Find a file of this name one folder deeper: a run has a folder for each dataset."""
    parent = path.parent
    inside = (parent / name / path.name for name in sorted(_names(parent)) if name[0] != ".")
    return next((file for file in inside if file.is_file()), None)


def _names(folder: Path) -> list[str]:
    """List what is in a folder; nothing where that cannot be read, or takes long to compare."""
    with suppress(OSError):
        names = os.listdir(folder)
        return names if len(names) <= MOST_NAMES else []
    return []


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path` once the block has ended well.

    Nobody sees half a file: on an error the temporary file goes and an older `path` stays. What
    was written survives a loss of power once the block has ended. Of a symbolic link the file
    behind it is replaced; a file keeps its mode.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        A path of the same suffix in the same folder, not existing yet.

    Raises:
        OSError: names `path`, also where the system names no file, as on a full disk.
    """
    path = Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short, so that a file name near the system's limit works; not mkstemp, whose files are 0600.
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_temporaries(folder: Path) -> None:
    """Remove what `replacing` left in a folder, two levels deep, when its process was killed.

    Args:
        folder: one in which no other process is writing.
    """
    name = "." + "[0-9a-f]" * 16
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        for path in (*folder.glob(pattern), *folder.glob(pattern + ".*")):
            path.unlink()


def json_text(content: Any, **form: Any) -> str:
    """Write JSON that every program reads: a number that is not finite becomes null.

    Args:
        content: values, lists and mappings.
        form: arguments of `json.dumps`.
    """
    return json.dumps(_finite(content), allow_nan=False, **form)


def _finite(value: Any) -> Any:
    """Put None in the place of numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def write_yaml(path: Path, content: Any) -> None:
    """Write plain values as YAML, replaced atomically."""
    plain = dict(content) if isinstance(content, Mapping) else list(content)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_yaml(path: Path, kind: type) -> Any:
    """Read plain values.

    Raises:
        ValueError: names the file when it is missing, damaged or holds another kind.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({yaml_reason(error)})") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path}: damaged, expected a {kind.__name__}")
    return content


def yaml_reason(error: BaseException) -> str:
    """Say in one line what a YAML reader found, and where."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return (str(error).splitlines() or [repr(error)])[0]
    problem = str(getattr(error, "problem", None) or "").strip()
    if "'\\t'" in problem:
        problem = "a tab; YAML takes spaces only, so replace each tab by two of them"
    return f"line {mark.line + 1}: {problem}"

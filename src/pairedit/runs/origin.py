"""Own what a run notes of where it came from: versions, the commit of the code, the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pairedit
from pairedit.files import PACKAGE

PACKAGES = ("torch", "diffusers", "transformers", "peft", "hydra-core")


def origin() -> dict[str, Any]:
    """Return it as plain values; what cannot be found out is left out."""
    versions = {"pairedit": pairedit.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    machine = {"name": platform.node(), "system": platform.platform(), "cores": os.cpu_count()}
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        machine["gpus"] = visible
    commit = _commit()
    return {"versions": versions, **({"commit": commit} if commit else {}), "machine": machine}


def _commit() -> str | None:
    """Return the commit of a checkout, and whether files of it were changed."""
    if not (PACKAGE.parents[1] / ".git").exists():
        return None
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    return None

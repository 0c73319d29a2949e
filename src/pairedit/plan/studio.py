"""Own the plan of the studio: where its page is served, and with which base model."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pairedit.files import expand_home
from pairedit.plan.keys import StudioConfig
from pairedit.plan.model import build_hardware, build_model, check_keys
from pairedit.problems import Problems
from pairedit.runs.words import key_of

GROUPS = ("model", "hardware")
KEYS = ("device", "precision")
LARGEST_PORT = 65535
TRIED = 100  # ports above one that is taken
INSTALL = "pip install 'pairedit[studio]'"


@dataclass(frozen=True, kw_only=True)
class StudioPlan:
    """Hold one checked studio."""

    model: Any  # a `bases.base.Loadable`
    parts: Mapping[str, str]  # options of `GROUPS`, that all of its jobs have
    keys: Mapping[str, Any]  # set on top of them
    words: Sequence[str]  # the same for a command line
    host: str
    port: int
    password: str | None  # None: none was named
    folder: Path
    browser: bool

    @property
    def alone(self) -> bool:
        """Say whether nobody but this machine reaches the page."""
        return is_loopback(self.host)


def plan_studio(
    config: DictConfig, *, words: Sequence[str] = (), choices: Mapping[str, Any] | None = None
) -> StudioPlan:
    """Check a composed `StudioConfig`.

    Args:
        config: the composed configuration.
        words: the overrides that it was composed from.
        choices: the options that were chosen, by group.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    check_keys(config, StudioConfig, problems)
    # Before the model, which has keys of these names to fit to.
    model = problems.attempt(lambda: _model(config))
    for package in ("gradio", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            problems.append(f"pairedit-studio needs Gradio, which is not installed: {_installed()}")
            break
    known = 0 < config.port <= LARGEST_PORT
    problems.expect(known, f"port={config.port}: expected 1 to {LARGEST_PORT}")
    problems.expect(_is_host(config.host), f"host={config.host}: expected a name or an address")
    if known and _is_host(config.host) and not _is_free(config.host, config.port):
        problems.append(_taken(config.host, config.port))
    problems.expect(
        config.password is None or bool(config.password.strip()),
        "password=: expected at least one letter; null: none, or a new one that is printed",
    )
    folder = expand_home(config.folder)
    problems.expect(not folder.exists() or folder.is_dir(), f"folder={config.folder}: is a file")
    problems.done()
    carried = [word for word in words if _is_carried(key_of(word))]
    chosen = {group: (choices or {}).get(group) for group in GROUPS}
    return StudioPlan(
        model=model,
        parts={group: option for group, option in chosen.items() if option},
        keys={
            key: OmegaConf.select(config, key)
            for key in dict.fromkeys(key_of(word) for word in carried)
            if key not in GROUPS
        },
        words=carried,
        host=config.host,
        port=config.port,
        password=config.password,
        folder=folder.absolute(),
        browser=config.browser,
    )


def _installed() -> str:
    """Say how to get what the page needs; `make studio` puts it into an environment of its own."""
    apart = Path(sys.prefix, "studio/bin/pairedit-studio")
    if apart.is_file():
        return f"`make studio` has put it beside; start {apart}"
    return INSTALL


def is_loopback(host: str) -> bool:
    """Say whether an address or a name stands for this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _model(config: DictConfig) -> Any:
    """Build the model group, with the usual numbers of a rendering."""
    problems = Problems()
    usual = {
        "resolution": "${model.resolution}",
        "guidance_scale": "${model.guidance_scale}",
        "num_inference_steps": "${model.num_inference_steps}",
    }
    whole = OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(config)), usual)
    model = build_model(whole, problems)
    build_hardware(whole, problems)
    problems.done()
    return model


def _is_carried(key: str) -> bool:
    """Say whether a key holds for the jobs of the studio, too."""
    return key in (*GROUPS, *KEYS) or key.startswith("model.")


def _is_free(host: str, port: int) -> bool:
    """Say whether nobody serves at a port; whoever takes it says all else that may be wrong."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _taken(host: str, port: int) -> str:
    """Say that somebody serves at a port, and which one is free."""
    further = range(port + 1, min(port + TRIED, LARGEST_PORT) + 1)
    free = next((other for other in further if _is_free(host, other)), None)
    way = "choose another one" if free is None else f"write port={free}, which is free"
    return f"port={port}: is in use on {host}; {way}, or stop what serves there"


def _is_host(host: str) -> bool:
    """Say whether a text can name a machine."""
    return bool(host) and not any(letter in host for letter in " /@?#\\")

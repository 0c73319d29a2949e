"""Own the plan of the studio: where its page is served, and with which base model."""

from __future__ import annotations

import importlib.util
import ipaddress
import sys
from collections.abc import Mapping, Sequence
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
    problems.expect(
        0 < config.port <= LARGEST_PORT, f"port={config.port}: expected 1 to {LARGEST_PORT}"
    )
    problems.expect(_is_host(config.host), f"host={config.host}: expected a name or an address")
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


def _is_host(host: str) -> bool:
    """Say whether a text can name a machine."""
    return bool(host) and not any(letter in host for letter in " /@?#\\")

"""Own pairedit-export: one LoRA file rewritten in another layout."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from pairedit.config import ExportConfig
from pairedit.data import expand_home
from pairedit.layouts import LAYOUTS
from pairedit.lora import SUFFIXES, inspect_lora, read_lora, write_lora
from pairedit.plan import check_keys
from pairedit.values import Problems

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """Hold one checked export."""

    lora: Path
    layout: str
    out: Path


def plan_export(config: DictConfig) -> ExportPlan:
    """Check a composed `ExportConfig`.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    check_keys(config, ExportConfig, problems)
    problems.expect(
        config.layout in LAYOUTS, f"layout={config.layout}: expected one of {', '.join(LAYOUTS)}"
    )
    if not config.lora:
        problems.append("lora=: expected the file to export")
        problems.done()
    lora = expand_home(config.lora)
    problems.attempt(lambda: inspect_lora(lora))
    suffix = ".pt" if config.layout == "published" else ".safetensors"
    name = f"{lora.stem}-{config.layout}{suffix}"
    out = lora.parent / name if config.out is None else expand_home(config.out)
    problems.expect(
        out.suffix in SUFFIXES, f"out={out}: expected a name in {' or '.join(SUFFIXES)}"
    )
    problems.expect(out.resolve() != lora.resolve(), f"out={out}: is the file to export")
    problems.done()
    return ExportPlan(lora=lora, layout=config.layout, out=out)


def run_export(plan: ExportPlan) -> Path:
    """Write the file of a plan.

    Returns:
        The file.

    Raises:
        ValueError: a file that cannot be read, or modules that the layout cannot hold.
    """
    lora = read_lora(plan.lora)
    metadata = {key: value for key, value in lora.metadata.items() if key != "version"}
    try:
        write_lora(plan.out, lora.weights, metadata, plan.layout)
    except ValueError as error:
        raise ValueError(f"{plan.lora}: {error}") from error
    log.info("%s: %s", plan.layout, plan.out.resolve())
    return plan.out

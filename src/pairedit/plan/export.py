"""Own the plan of an export."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from pairedit.bases.known import USUAL
from pairedit.files import CONF, expand_home
from pairedit.lora.file import SUFFIXES, inspect_lora
from pairedit.lora.layouts import LAYOUTS
from pairedit.lora.names import Names
from pairedit.plan.keys import ExportConfig
from pairedit.plan.model import check_keys
from pairedit.problems import Problems


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """Hold one checked export."""

    lora: Path
    layout: str
    out: Path
    names: Names  # of the modules of the base model
    workflow: Path | None  # a file for ComfyUI, if one is wanted


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
    names = _names(lora)
    problems.attempt(lambda: inspect_lora(lora, names))
    suffix = LAYOUTS[config.layout].suffix if config.layout in LAYOUTS else ""
    name = f"{lora.stem}-{config.layout}{suffix}"
    out = lora.parent / name if config.out is None else expand_home(config.out)
    # Without a layout the usual name has no ending, which is no second mistake.
    problems.expect(
        out.suffix.lower() in SUFFIXES or (config.out is None and config.layout not in LAYOUTS),
        f"out={out}: expected a name in {' or '.join(SUFFIXES)}",
    )
    problems.expect(
        not config.workflow or (config.layout != "published" and out.suffix.lower() != ".pt"),
        f"workflow=true: ComfyUI does not read {out.name}; expected layout=diffusers or kohya",
    )
    usual = USUAL.names
    problems.expect(
        not config.workflow or names is usual,
        f"workflow=true: written for {usual.family} alone, {lora} is of {names.family}",
    )
    problems.expect(out.resolve() != lora.resolve(), f"out={out}: is the file to export")
    problems.done()
    return ExportPlan(
        lora=lora,
        layout=config.layout,
        out=out,
        names=names,
        workflow=out.with_name(f"{out.stem}-workflow.json") if config.workflow else None,
    )


def _names(lora: Path) -> Names:
    """Return the names of the base model that a file is of; the usual ones where it does not say.

    A file may come from anybody: what it names is looked up among our own options.
    """
    with contextlib.suppress(ValueError):  # said when the file is checked
        base = str(inspect_lora(lora).get("base_model"))
        option = CONF / f"model/{base}.yaml"
        if re.fullmatch(r"[\w-]+", base) and option.is_file():
            return get_class(OmegaConf.load(option)["_target_"]).names
    return USUAL.names

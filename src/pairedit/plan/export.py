"""Own the plan of an export."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from pairedit.bases.known import USUAL, usual_workflows
from pairedit.files import CONF, expand_home
from pairedit.lora.file import SUFFIXES, inspect_lora
from pairedit.lora.layouts import LAYOUTS
from pairedit.lora.names import Names
from pairedit.plan.card import Card, Known, known_base, plan_card
from pairedit.plan.keys import ExportConfig
from pairedit.plan.merging import Part, describe_merged, parse_merge
from pairedit.plan.model import check_keys
from pairedit.plan.roles import inspect, note_content
from pairedit.problems import Problems, did_you_mean
from pairedit.settings import LARGEST

# Programs that people name in place of a layout, by a part of what they type. See docs/files.md.
READERS = {
    "comfy": "ComfyUI",
    "forge": "Forge",
    "sdscripts": "sd-scripts",
    "invoke": "InvokeAI",
    "nunchaku": "nunchaku",
}


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """Hold one checked export."""

    lora: Path | None  # None of a merged one
    parts: Sequence[Part]  # of a merged one
    rank: int | None  # that a merged one is cut to
    metadata: Mapping[str, Any]  # of a merged one
    notes: Sequence[str]  # what the user should know
    layout: str
    out: Path
    names: Names  # of the modules of the base model
    workflow: Path | None  # a file for ComfyUI, if one is wanted
    card: Card | None  # a folder for a model hub, if one is wanted


def plan_export(config: DictConfig) -> ExportPlan:
    """Check a composed `ExportConfig`.

    Raises:
        ValueError: lists every problem.
    """
    problems = Problems()
    check_keys(config, ExportConfig, problems)
    problems.expect(config.layout in LAYOUTS, _no_layout(config.layout))
    problems.expect(
        config.show is None or config.card, f"show={config.show}: has no effect; add card=true"
    )
    if config.card:
        return _plan_folder(config, problems)
    notes: list[str] = []
    parts, metadata, lora = [], {}, None
    if config.merge is not None:
        problems.expect(
            not config.lora, f"lora={config.lora}: merge= names the files already; leave lora= out"
        )
        problems.expect(config.out is not None, "merge: needs out=, the file to write")
        parts = problems.attempt(lambda: parse_merge(config.merge)) or []
    elif config.lora:
        lora = expand_home(config.lora)
    else:
        problems.append("lora=: expected the file to export, or merge= with several files")
    rank = config.rank
    problems.expect(
        rank is None or config.merge is not None, f"rank={rank}: has no effect; add merge="
    )
    problems.expect(
        rank is None or 1 <= rank <= LARGEST,
        f"rank={rank}: expected 1 to {LARGEST}, or null to add the ranks up",
    )
    files = [lora] if lora else [part.path for part in parts]
    if not files:
        problems.done()
    names, _ = _base(files[0])
    if lora:
        problems.attempt(lambda: inspect(lora, names))
    else:
        metadata = describe_merged(parts, names, problems, notes)
    out = _out(config, files, names, problems)
    problems.done()
    if lora:  # the parts of a merged one have been asked
        note_content(lora, notes)
    return ExportPlan(
        lora=lora,
        parts=parts,
        rank=rank,
        metadata=metadata,
        notes=notes,
        layout=config.layout,
        out=out,
        names=names,
        workflow=out.with_name(f"{out.stem}-workflow.json") if config.workflow else None,
        card=None,
    )


def _no_layout(name: str) -> str:
    """Say which layouts there are, and which of them the program reads that was named instead."""
    program = next((p for p in READERS if p in re.sub(r"[^a-z]", "", str(name).lower())), None)
    near = f"; {READERS[program]} reads layout=kohya" if program else did_you_mean(name, LAYOUTS)
    return f"layout={name}: expected one of {', '.join(LAYOUTS)}{near}"


def _out(config: DictConfig, files: Sequence[Path], names: Names, problems: Problems) -> Path:
    """Name the file to write; check that it and a workflow can hold what is asked for."""
    suffix = LAYOUTS[config.layout].suffix if config.layout in LAYOUTS else ""
    name = f"{files[0].stem}-{config.layout}{suffix}"
    out = files[0].parent / name if config.out is None else expand_home(config.out)
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
        f"workflow=true: expected a LoRA of {usual.family}, and {files[0]} is of {names.family}",
    )
    problems.expect(
        all(out.resolve() != file.resolve() for file in files),
        f"out={out}: is the file to export; expected another name",
    )
    return out


def _plan_folder(config: DictConfig, problems: Problems) -> ExportPlan:
    """Plan a folder that is ready for a model hub."""
    for key in ("merge", "rank"):
        value = config[key]
        problems.expect(
            value is None, f"{key}={value}: card=true describes one file; export that first"
        )
    problems.expect(
        config.layout != "published", "layout=published: has no room for what card=true describes"
    )
    if not config.lora:
        problems.append("lora=: expected the slider that card=true describes")
        problems.done()
    lora = expand_home(config.lora)
    names, base = _base(lora)
    metadata = problems.attempt(lambda: inspect(lora, names))
    card = None
    if metadata is not None:
        card = plan_card(lora, metadata, base, out=config.out, show=config.show, problems=problems)
    drawn = base is not None and base.name in usual_workflows
    problems.expect(
        not config.workflow or drawn,
        f"workflow=true: expected a LoRA of {' or '.join(sorted(usual_workflows))}",
    )
    problems.done()
    return ExportPlan(
        lora=lora,
        parts=[],
        rank=None,
        metadata=metadata,
        notes=[],
        layout=config.layout,
        out=card.file,
        names=names,
        workflow=card.folder / "workflow.json" if drawn else None,
        card=card,
    )


def _base(lora: Path) -> tuple[Names, Known | None]:
    """Return the names and the base model that a file is of; the usual names where it says none.

    A file may come from anybody: what it names is looked up among our own options.
    """
    with contextlib.suppress(ValueError):  # said when the file is checked
        base = str(inspect_lora(lora).get("base_model"))
        file = CONF / f"model/{base}.yaml"
        if re.fullmatch(r"[\w-]+", base) and file.is_file():
            option = OmegaConf.load(file)
            kind = get_class(option["_target_"])
            return kind.names, known_base(base, option, kind)
    return USUAL.names, None

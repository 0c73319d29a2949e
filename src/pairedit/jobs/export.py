"""Own pairedit-export: one LoRA file rewritten in another layout."""

from __future__ import annotations

import logging
from pathlib import Path

from pairedit.lora.file import read_lora, write_lora
from pairedit.plan.export import ExportPlan

log = logging.getLogger(__name__)


def run_export(plan: ExportPlan) -> Path:
    """Write the file of a plan.

    Returns:
        The file.

    Raises:
        ValueError: a file that cannot be read, or modules that the layout cannot hold.
    """
    lora = read_lora(plan.lora, plan.names)
    metadata = {key: value for key, value in lora.metadata.items() if key != "version"}
    try:
        write_lora(plan.out, lora.weights, metadata, plan.layout, plan.names)
    except ValueError as error:
        raise ValueError(f"{plan.lora}: {error}") from error
    log.info("%s: %s", plan.layout, plan.out.resolve())
    return plan.out

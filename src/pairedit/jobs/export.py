"""Own pairedit-export: a LoRA file in another layout, several as one, a workflow that uses it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairedit.bases.known import usual_workflow, usual_workflows
from pairedit.files import replacing
from pairedit.lora.file import LoraFile, read_lora, write_lora
from pairedit.plan.export import ExportPlan
from pairedit.plan.recipe import recipe_of

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


def run_export(plan: ExportPlan) -> Path:
    """Write the files of a plan.

    Returns:
        The LoRA.

    Raises:
        ValueError: a file that cannot be read, or modules that the layout cannot hold.
    """
    for note in plan.notes:
        log.warning("%s", note)
    lora = _merged(plan) if plan.parts else read_lora(plan.lora, plan.names)
    metadata = {key: value for key, value in lora.metadata.items() if key != "version"}
    if plan.card:
        # Needs torch, which a mistake must not wait for.
        from pairedit.jobs.card import public, write_folder

        metadata = public(metadata)
    try:
        write_lora(
            plan.out, lora.weights, metadata, plan.layout, plan.names, lora.texts, lora.biases
        )
    except ValueError as error:
        raise ValueError(f"{lora.path}: {error}") from error
    log.info("%s: %s", plan.layout, plan.out.resolve())
    if plan.workflow:
        text = json.dumps(usual_workflow(**_use(lora), lora=plan.out.name), indent=1)
        with replacing(plan.workflow) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        log.info("workflow: %s", plan.workflow.resolve())
    if plan.card:
        write_folder(plan, lora)
    return plan.out


def _merged(plan: ExportPlan) -> LoraFile:
    """Make one LoRA of several, and say what it is."""
    from pairedit.lora.merging import merge  # needs torch, which a mistake must not wait for

    loras = [(read_lora(part.path, plan.names), part.scale) for part in plan.parts]
    weights, lost = merge(loras, plan.rank)
    whole = max(sum(lora.rank for lora, _ in loras), 1)
    merged = LoraFile(
        path=plan.out,
        weights=weights,
        metadata={
            **plan.metadata,
            "merged": [
                {"file": lora.path.name, "sha256": lora.sha256, "scale": scale}
                for lora, scale in loras
            ],
        },
        sha256="",
        biases=_added(loras),
    )
    if plan.rank is None:
        log.info("%d sliders in one file, without loss: rank %d", len(loras), merged.rank)
    else:
        log.info(
            "%d sliders in one file, at rank %d of %d: that loses %.2g %% of their update",
            len(loras),
            merged.rank,
            whole,
            100 * lost,
        )
    return merged


def _added(loras: Sequence[tuple[LoraFile, float]]) -> dict[str, Tensor]:
    """Add up the biases of LoRAs, each at its scale."""
    biases: dict[str, Tensor] = {}
    for lora, scale in loras:
        for module, bias in lora.biases.items():
            biases[module] = scale * bias + biases.get(module, 0)
    return biases


def _use(lora: LoraFile) -> dict[str, Any]:
    """Return how a slider is rendered, by its metadata; what they lack is FLUX.1-dev's default."""
    recipe, base = recipe_of(lora.metadata), lora.metadata.get("base_model")
    if base is not None and base not in usual_workflows:
        log.warning(
            "%s: ComfyUI has no %s, so this slider does nothing useful there; the workflow loads "
            "FLUX.1-dev, and is for a slider that was trained with model=flux-dev",
            lora.path,
            base,
        )
    if recipe.scale is None:
        log.warning(
            "%s: not calibrated, so the workflow's strength %g is a guess; pairedit-eval lora=%s "
            "measures the right one",
            lora.path,
            recipe.guess,
            lora.path,
        )
    if recipe.local:
        log.warning(
            "%s: best used with local=%s, which ComfyUI's own nodes cannot do; in the workflow "
            "the slider acts on the whole picture",
            lora.path,
            str(recipe.local).lower(),
        )
    if recipe.flowedit:
        log.warning(
            "%s: best used with flowedit=true, which ComfyUI's own nodes cannot do; the workflow "
            "lets the slider act on the way to the picture%s",
            lora.path,
            ", and its strength was found with flowedit=true" * recipe.finished,
        )
    return {
        "strength": recipe.strength,
        "skip": recipe.skip or 0,
        "lean": recipe.lean,
        "steps": recipe.steps,
        "guidance_scale": recipe.guidance_scale,
        "size": recipe.size,
        "prompt": recipe.prompt or "a portrait photo of a person",
        "model": str(base),
    }

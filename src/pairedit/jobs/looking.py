"""Own what is seen of a training before its end: rows of pictures, and the curve of its losses."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pairedit.bases.base import Base, Text
from pairedit.data.examples import Example, Single
from pairedit.data.images import load_image
from pairedit.edits import Edit, Photo, RealImage, TextToImage
from pairedit.lora.adapters import Adapters
from pairedit.pictures.lanes import draw_sheet
from pairedit.pictures.losses import draw_losses
from pairedit.pictures.png import save_png
from pairedit.plan.train import TrainPlan
from pairedit.runs.looking import SHARE, Asking, Looking
from pairedit.runs.tracking import Run
from pairedit.sample import Slider, Stage, generate
from pairedit.settings import Rendering, Use

log = logging.getLogger(__name__)

PREVIEWS = "previews"  # folder of the rows
SEED = 0
SCALES = (0.0, 0.2, 0.4, 0.6)
PASSES = 3  # that a step of training takes for each LoRA, roughly: forwards and backwards


@dataclass(frozen=True, kw_only=True)
class Row:
    """Render one row of a LoRA that is being trained: always the same seed and scales."""

    base: Base
    plan: TrainPlan
    folder: Path
    run: Run
    sliders: Sequence[Slider]
    photos: Sequence[Photo]
    edit: Edit
    rendering: Rendering
    prompt: str

    def __call__(
        self, adapters: Adapters, text: Callable[[Sequence[str]], Text], step: int
    ) -> None:
        """Write the row of a step, and the curve so far."""
        samples = generate(
            self.base,
            sliders=self.sliders,
            prompts=[self.prompt],
            seeds=[SEED],
            rendering=self.rendering,
            edit=self.edit,
            photos=self.photos,
            stage=Stage(adapters=adapters, text=text),
        )
        title = f"{self.folder.name}: step {step} of {self.plan.training.steps}"
        path = self.folder / PREVIEWS / f"{step:06d}.png"
        save_png(draw_sheet(list(samples), title=title), path, {"step": str(step)})
        self.run.image(PREVIEWS, path, step)
        show_losses(self.folder, self.run, step)
        log.info("%s: preview: %s", self.folder.name, path.resolve())

    @property
    def passes(self) -> int:
        """Count the passes of the model that a row takes, rows of a batch one by one."""
        steps, skip = self.rendering.num_inference_steps, self.rendering.skip
        skip = skip if isinstance(skip, int) else 0
        columns = len(self.sliders[0].scales) if self.sliders else 1
        guided = 2 if self.base.guidance.weights(self.rendering.guidance_scale)[1] else 1
        return guided * (skip + (steps - skip) * columns)


def look_at(
    base: Base,
    plan: TrainPlan,
    folder: Path,
    examples: Sequence[Example],
    *,
    use: Use | None,
    run: Run,
    asking: Asking,
) -> Looking:
    """Say when and how one training is looked at, and what that costs.

    Args:
        base: the model.
        plan: of the training.
        folder: of the training; receives previews/ and loss.png.
        examples: that it learns from.
        use: of the slider, as far as it is known; None for the plain one.
        run: receives the pictures.
        asking: tells when somebody wants a row at once.
    """
    role, use = plan.method.roles[-1], use or Use()
    sliders, photos, edit = [], [], TextToImage()
    rendering, prompt = plan.preview_at, plan.model.prompt
    if plan.method.learns_from is Single:
        path = examples[0].path
        photos = [Photo(path=path, image=load_image(path, plan.training.size), attached=role)]
        edit, rendering, prompt = RealImage(inversion="lora"), replace(rendering, skip=0), ""
    else:
        sliders = [Slider(lora=None, attached=role, scales=SCALES, local=use.local)]
    row = Row(
        base=base,
        plan=plan,
        folder=folder,
        run=run,
        sliders=sliders,
        photos=photos,
        edit=edit,
        rendering=rendering,
        prompt=prompt,
    )
    if plan.preview_every:
        alike = row.passes / (PASSES * len(plan.method.roles))
        log.info(
            "%s: previews: %d rows, one every %d steps. A row takes about as long as %.0f steps. "
            "All rows take at most %.0f %% of the training's own time",
            folder.name,
            plan.training.steps // plan.preview_every,
            plan.preview_every,
            alike,
            100 * SHARE,
        )
    return Looking(
        name=folder.name,
        asking=asking,
        every=plan.preview_every,
        show=row,
        prompts=[prompt],
        sizes=[rendering.size],
    )


def show_losses(folder: Path, run: Run | None, step: int) -> None:
    """Draw loss.png from the metrics of a training so far."""
    lines = []
    with suppress(FileNotFoundError), (folder / "metrics.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    curve = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    steps, losses = zip(*curve, strict=True) if curve else ((), ())
    path = folder / "loss.png"
    save_png(draw_losses(steps, losses, title=f"{folder.name}: loss"), path, {})
    if run:
        run.image("loss curve", path, step)

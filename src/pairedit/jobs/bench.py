"""Own what sliders are measured with: a model and readers, opened once they are needed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor

from pairedit.bases.base import Base
from pairedit.files import locate
from pairedit.jobs.noting import calibrate, settle, worth
from pairedit.jobs.opening import open_for
from pairedit.jobs.sheets import side_by_side
from pairedit.lora.file import LoraFile
from pairedit.measure import measures
from pairedit.measure.evaluate import Result, Setting, evaluate, render_all, witness
from pairedit.measure.evidence import Evidence
from pairedit.measure.families import leading
from pairedit.measure.findings import in_order
from pairedit.measure.intervals import summarise
from pairedit.measure.readers import Instrument, open_readers
from pairedit.measure.report import Plate
from pairedit.measure.subject import Subject
from pairedit.measure.unit import MOST, around, is_open, surer, unit_of
from pairedit.plan.eval import EvalPlan
from pairedit.settings import LAST_SEED

log = logging.getLogger(__name__)


class Bench:
    """Measure sliders as a plan says."""

    def __init__(
        self, plan: EvalPlan, loras: Mapping[Path, LoraFile], base: Base | None = None
    ) -> None:
        """Take a plan.

        Args:
            plan: a checked configuration.
            loras: the sliders' files, as read, by path.
            base: the model; None opens that of the plan.
        """
        self.plan, self.loras, self._given = plan, loras, base
        self.setting = Setting(prompts=plan.prompts, seeds=plan.seeds, rendering=plan.rendering)

    @cached_property
    def base(self) -> Base:
        """Return the model, without LoRAs."""
        plan = self.plan
        return self._given or open_for(plan)

    @cached_property
    def readers(self) -> tuple[Mapping[str, Instrument], Mapping[str, str]]:
        """Return the instruments, and why others cannot be had."""
        readers, missing = open_readers(
            self.plan.readers,
            model=locate(self.plan.model.path),
            size=self.plan.rendering.size,
            device=str(self.base.device),
            group="readers.",
        )
        for name, why in missing.items():
            log.info("not measured by %s: %s", name, why)
        return readers, missing

    def measure(
        self, subjects: Sequence[Subject], keep: Callable[[Result], Result] = lambda result: result
    ) -> list[Result]:
        """Find how each slider is best used, render the sliders together and measure them."""
        readers, missing = self.readers
        settled = [
            settle(self.base, s, self.loras[s.path], self.setting, readers, self.plan)
            for s in subjects
        ]
        return evaluate(
            self.base,
            settled,
            self.loras,
            scales=self.plan.scales,
            setting=self.setting,
            readers=readers,
            missing=missing,
            match=self.plan.match,
            keep=keep,
        )

    def surer(self, result: Result) -> Result:
        """Read more people, where a probe reads the edit and its scale is not sure yet.

        They are read for that scale alone, at the scales about it. All else stays as it was found.
        """
        unit, seen, subject = result.unit, result.seen, result.subject
        readers = {name: one for name, one in self.readers[0].items() if one.columns}
        named = {"probe", "attribute"} <= seen.has and not seen.guessed
        open_ = unit is None and result.verdict.name == "works"
        if not (result.recommended or open_) or not named or not is_open(seen):
            return result
        log.info("%s; reading more people, at most %d in all", worth(result), MOST)
        few, size = around(seen), self.setting.rendering.size
        seeds = count(max(self.plan.seeds) + 1)

        def more(people: int) -> Evidence:
            fresh = range(math.ceil(people / len(self.setting.prompts)))
            setting = replace(self.setting, seeds=[next(seeds) % LAST_SEED for _ in fresh])
            scales, (images,) = render_all(
                self.base, [subject], self.loras, scales=few.scales, setting=setting
            )
            return witness(subject, images, scales, size, readers, self.plan.match)

        found = surer(few, more)
        unit = unit_of(found)
        # Beyond the scales that the others were read at, what the first people say is all we know.
        if unit is None and few.scales[-1] < seen.scales[-1]:
            return result
        known = {measures.calibration: summarise(measures.calibration, found)}
        return replace(result, unit=unit, summaries={**result.summaries, **known})

    def side_by_side(self, group: Sequence[Result]) -> Plate:
        """Render the sliders of one edit where they are compared."""
        return side_by_side(self.base, leading(in_order(group)), self.loras, self.setting)

    def note(self, results: Sequence[Result]) -> None:
        """Note in the sliders' files what is worth one pair, unless they are to be left alone."""
        if self.plan.calibrate:
            for result in results:
                calibrate(result, self._sigmas, settings_of(self.plan))

    @cached_property
    def _sigmas(self) -> Tensor:
        rendering = self.plan.rendering
        return self.base.sigmas(rendering.size, rendering.num_inference_steps)


def settings_of(plan: EvalPlan) -> dict[str, Any]:
    """Return what eval.json says of how images were rendered."""
    names = ("num_inference_steps", "guidance_scale", "resolution", "match")
    settings = {name: plan.resolved[name] for name in names}
    if plan.rendering.negative_prompt:
        settings["negative_prompt"] = plan.rendering.negative_prompt
    return settings | {"model": plan.model.name, "seeds": plan.seeds, "prompts": plan.prompts}
